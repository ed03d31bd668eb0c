//! `wasmill flow`: what a person does with one flow. For `reset` no host may run it, for the others one must.

mod reset;
mod steer;

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
    /// Stop reading; what was read already is written, and the host stays in the group
    Pause(steer::SteerArgs),
    /// Go on after a pause
    Resume(steer::SteerArgs),
    /// Run the modules of before, until the file of a module changes again
    ///
    /// The file in the modules folder stays as it is. After a restart it runs again, unless `[modules] store` is set: then
    /// the rollback stays in force until the folder has another file, or until --undo.
    Rollback(steer::RollbackArgs),
}

pub(super) fn run(args: &FlowArgs, file: Option<&Path>) -> Result<(), Failure> {
    match &args.action {
        Action::Reset(args) => reset::run(args, file),
        Action::Pause(args) => steer::pause(args, file),
        Action::Resume(args) => steer::resume(args, file),
        Action::Rollback(args) => steer::rollback(args, file),
    }
}
