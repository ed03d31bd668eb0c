//! `wasmill health`: asks the running host, as a container's health check does.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Failure, out};
use crate::config::{Admin, Config};

/// Longest wait for each step; a host that takes longer is not healthy.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(clap::Args, Debug)]
pub(super) struct HealthArgs {
    /// Address of the host's HTTP server [default: admin.listen of the configuration]
    #[arg(long, visible_alias = "url", value_name = "ADDR")]
    admin: Option<String>,
    /// Print the host's answer as it comes
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &HealthArgs, file: Option<&Path>) -> Result<(), Failure> {
    let address = match &args.admin {
        Some(address) => address.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        None => address_of(file)?,
    };
    let (status, body) = get(&address, "/health/ready").map_err(|cause| {
        Failure::runtime(format!(
            "no answer from http://{address}/health/ready: {cause}; is the host running there? (--admin ADDR)"
        ))
    })?;
    let answer: Value = serde_json::from_str(&body).map_err(|_| {
        Failure::runtime(format!("http://{address}/health/ready is answered by something that is not wasmill"))
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
    let answer = get(&reachable(address), "/health/ready").ok();
    answer
        .and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok())
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

/// Where the host of this configuration listens; an address of all interfaces is asked on loopback.
fn address_of(file: Option<&Path>) -> Result<String, Failure> {
    let listen = Config::load(file)?.admin.listen;
    let listen = if listen.is_empty() { Admin::default().listen } else { listen };
    if listen.ends_with(":0") {
        return Err(Failure::config("admin.listen has port 0; name the host's address with --admin ADDR"));
    }
    Ok(reachable(&listen))
}

/// An address of all interfaces as one that can be called.
fn reachable(listen: &str) -> String {
    listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    let target =
        address.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("not an HTTP answer")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::metrics::Metrics;

    #[test]
    fn it_tells_ready_from_not_ready_and_from_nobody() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let health = Health::new();
        let address = crate::admin::start("127.0.0.1:0", Metrics::new(), health.clone(), runtime.handle()).unwrap();
        let args = HealthArgs { admin: Some(format!("http://{address}/")), json: false };
        assert!(run(&args, None).is_ok());
        health.problem("sink postgres", "wrong password");
        assert_eq!(run(&args, None).unwrap_err().code, 1);
        let (_, body) = get(&address.to_string(), "/health/ready").unwrap();
        assert_eq!(reasons(&serde_json::from_str(&body).unwrap()), "not ready\n  sink postgres: wrong password");
        drop(runtime);
        let failure = run(&args, None).unwrap_err();
        assert!(failure.code == 1 && failure.message.contains("is the host running there"), "{}", failure.message);
    }
}
