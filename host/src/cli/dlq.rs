//! `wasmill dlq`: what became dead letters, and processing them once more. Letters are read without joining a group, beside
//! any flow at any time; nothing is ever deleted.

mod filter;
mod letters;
mod ls;
mod redrive;
mod rehearse;
mod show;

use std::path::Path;

use clap::{Args, Subcommand};

use super::Failure;

#[derive(Args, Debug)]
pub(super) struct DlqArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Count dead letters by flow, code and topic, with one message of each
    Ls(ls::LsArgs),
    /// Show dead letters: where they come from, why, headers, key and value
    Show(show::ShowArgs),
    /// Let a flow process dead letters once more
    ///
    /// Letters are copied to the topic GROUP.redrive, which only that flow reads. A record that its modules condemned is
    /// processed as a whole; of a record of which a sink refused one output only that output is written. A letter that was
    /// redriven is not redriven again, unless it has died again.
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::RedriveArgs),
}

pub(super) fn run(args: &DlqArgs, file: Option<&Path>) -> Result<(), Failure> {
    match &args.action {
        Action::Ls(args) => ls::run(args, file),
        Action::Show(args) => show::run(args, file),
        Action::Redrive(args) => redrive::run(args, file),
    }
}
