//! `wasmill flow`: what a person does with one flow. The host need not run for it, and for `reset` must not.

mod reset;

use std::path::Path;

use clap::{Args, Subcommand};

use super::Failure;

#[derive(Args, Debug)]
pub(super) struct FlowArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Move a stopped flow to another place: its consumer group and its progress in every sink
    ///
    /// Names per partition what will be written again or skipped. Rows are inserted once more when they are written
    /// again: empty the table first, or use upserts. Documents keep their _id. Kafka outputs are published once more.
    #[command(after_help = reset::EXAMPLES)]
    Reset(reset::ResetArgs),
}

pub(super) fn run(args: &FlowArgs, file: Option<&Path>) -> Result<(), Failure> {
    match &args.action {
        Action::Reset(args) => reset::run(args, file),
    }
}
