//! `wasmill schema`: the JSON Schema of the configuration, for editors.

use super::{Failure, out};
use crate::config::schema;

#[derive(clap::Args, Debug)]
pub(super) struct SchemaArgs {}

pub(super) fn run(_: &SchemaArgs) -> Result<(), Failure> {
    out::data(&schema::text());
    Ok(())
}
