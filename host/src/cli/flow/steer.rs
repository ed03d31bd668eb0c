//! `wasmill flow pause | resume | rollback`: what is asked of a flow that runs.

use std::path::Path;

use serde_json::json;

use super::super::ask::{AdminArgs, Ask, encoded};
use super::super::{Failure, out};

#[derive(clap::Args, Debug)]
pub(super) struct SteerArgs {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    steer: SteerArgs,
    /// Take the rollback back: run what the modules folder holds
    #[arg(long)]
    undo: bool,
}

pub(super) fn pause(args: &SteerArgs, file: Option<&Path>) -> Result<(), Failure> {
    change(args, file, "pause")
}

pub(super) fn resume(args: &SteerArgs, file: Option<&Path>) -> Result<(), Failure> {
    change(args, file, "resume")
}

pub(super) fn rollback(args: &RollbackArgs, file: Option<&Path>) -> Result<(), Failure> {
    change(&args.steer, file, if args.undo { "rollback?undo=true" } else { "rollback" })
}

fn change(args: &SteerArgs, file: Option<&Path>, action: &str) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let done = ask.change(&format!("/api/flows/{}/{action}", encoded(&args.flow)))?;
    match args.json {
        true => out::data(&json!({ "done": done }).to_string()),
        false => out::say(&done),
    }
    Ok(())
}
