//! `wasmill page`: where to look at the running host, with the token that changes need.

use std::path::Path;

use super::ask::{AdminArgs, Ask};
use super::{Failure, out};

#[derive(clap::Args, Debug)]
pub(super) struct PageArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &PageArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    ask.state()?;
    match ask.token() {
        // Browsers keep what follows `#` to themselves.
        Some(token) => out::data(&format!("http://{}/#token={token}", ask.address)),
        None => {
            out::data(&format!("http://{}/", ask.address));
            out::say("without a token: the page shows everything and changes nothing");
        }
    }
    Ok(())
}
