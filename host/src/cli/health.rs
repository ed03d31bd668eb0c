//! `wasmill health`: asks the running host, as a container's health check does.

use std::path::Path;

use serde_json::Value;

use super::ask::{AdminArgs, Ask};
use super::{Failure, out};

#[derive(clap::Args, Debug)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the host's answer as it comes
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &HealthArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let answer = ask.request("GET", "/health/ready")?;
    let (status, body) = (answer.status, answer.body);
    let answer: Value = serde_json::from_str(&body).map_err(|_| {
        Failure::runtime(format!("http://{}/health/ready is answered by something that is not wasmill", ask.address))
    })?;
    if args.json {
        out::data(body.trim());
    }
    if status == 200 {
        if !args.json {
            out::say("ready");
        }
        return Ok(());
    }
    if !args.json {
        out::say(&reasons(&answer));
    }
    Err(Failure::runtime(""))
}

/// Whether a host of wasmill listens there, ready or not.
pub(super) fn answers(address: &str) -> bool {
    let answer = Ask::at(address).request("GET", "/health/ready").ok();
    answer
        .and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok())
        .is_some_and(|body| body["ready"].is_boolean())
}

fn reasons(answer: &Value) -> String {
    let mut lines = vec!["not ready".to_owned()];
    if answer["draining"] == true {
        lines.push("  the host is stopping".into());
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        lines.push(format!("  {}: {}", text("name"), text("reason")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use crate::config::Admin;
    use crate::health::Health;
    use crate::logs::recent::Recent;
    use crate::metrics::Metrics;

    #[test]
    fn it_tells_ready_from_not_ready_and_from_nobody() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let board = Board::new(Metrics::new(), Health::new(), Recent::new());
        let (admin, health) = (Admin { listen: "127.0.0.1:0".into(), token: None }, board.health.clone());
        let server = crate::admin::start(&admin, &board, runtime.handle()).unwrap().unwrap();
        let address = server.address;
        let args = HealthArgs { admin: AdminArgs { admin: Some(format!("http://{address}/")) }, json: false };
        assert!(run(&args, None).is_ok());
        health.problem("sink postgres", "wrong password");
        assert_eq!(run(&args, None).unwrap_err().code, 1);
        let body = Ask::new(&args.admin, None).unwrap().request("GET", "/health/ready").unwrap().body;
        assert_eq!(reasons(&serde_json::from_str(&body).unwrap()), "not ready\n  sink postgres: wrong password");
        drop(runtime);
        let failure = run(&args, None).unwrap_err();
        assert!(failure.code == 1 && failure.message.contains("is the host running there"), "{}", failure.message);
    }
}
