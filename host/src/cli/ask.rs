//! Asking a running host over its HTTP server: where it is, how to prove who asks, and what an answer means.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::admin::token;
use crate::board::state::HostState;
use crate::config::load::file_to_read;
use crate::config::{Admin, Config};

/// Longest wait for each step; a host that takes longer is not healthy.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_ANSWER: u64 = 32 << 20;

/// Where the host is.
#[derive(clap::Args, Debug)]
pub(super) struct AdminArgs {
    /// Address of the host's HTTP server [default: admin.listen of the configuration, or 127.0.0.1:8686]
    #[arg(long, visible_alias = "url", value_name = "ADDR")]
    pub(super) admin: Option<String>,
}

/// A host that can be asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) address: String,
    token: Option<String>,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// One server-sent event.
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

impl Ask {
    /// Finds the host and the token: of `WASMILL_TOKEN`, of the configuration, or of a host of this user on this machine.
    pub(super) fn new(args: &AdminArgs, file: Option<&Path>) -> Result<Ask, Failure> {
        let configured = match (&args.admin, file) {
            // The configuration of a host elsewhere need not be readable here.
            (Some(_), None) => Config::load(None).map(|config| config.admin).unwrap_or_default(),
            _ if file_to_read(file).is_some() => Config::load(file)?.admin,
            _ => Admin::default(),
        };
        let address = match &args.admin {
            Some(address) => address.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            None => address_of(&configured)?,
        };
        // A token of this machine is nobody else's business.
        let port = address.rsplit_once(':').filter(|(host, _)| is_local(host)).and_then(|(_, port)| port.parse().ok());
        let given = std::env::var("WASMILL_TOKEN").ok().filter(|token| !token.trim().is_empty());
        let token = given.or_else(|| configured.token().map(str::to_owned)).or_else(|| token::read(port?));
        Ok(Ask { address, token })
    }

    /// For what needs no token.
    pub(super) fn at(listen: &str) -> Ask {
        Ask { address: reachable(listen), token: None }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn state(&self) -> Result<HostState, Failure> {
        self.get_json("/api/state")
    }

    /// The answer to a question, as what it should be.
    pub(super) fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.request("GET", path)?;
        self.check(&answer)?;
        serde_json::from_str(&answer.body).map_err(|_| self.stranger(path))
    }

    /// Asks for a change; words about what was done.
    pub(super) fn change(&self, path: &str) -> Result<String, Failure> {
        let answer = self.request("POST", path)?;
        self.check(&answer)?;
        let done: Value = serde_json::from_str(&answer.body).map_err(|_| self.stranger(path))?;
        Ok(done["done"].as_str().unwrap_or("done").to_owned())
    }

    /// Any answer, also a bad one.
    pub(super) fn request(&self, method: &str, path: &str) -> Result<Answer, Failure> {
        let asked = || -> Result<Answer, String> {
            let mut stream = self.connect()?;
            self.send(&mut stream, method, path, "1.1")?;
            let mut answer = Vec::new();
            stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(|error| error.to_string())?;
            let answer = String::from_utf8_lossy(&answer);
            let (head, body) = answer.split_once("\r\n\r\n").ok_or("not an HTTP answer")?;
            Ok(Answer { status: status(head)?, body: body.to_owned() })
        };
        asked().map_err(|cause| self.silent(path, &cause))
    }

    /// Takes events until `take` says that it is enough or the host ends the stream.
    pub(super) fn events(&self, path: &str, mut take: impl FnMut(&Event) -> bool) -> Result<(), Failure> {
        let mut stream = self.connect().map_err(|cause| self.silent(path, &cause))?;
        // Without chunks, which are a matter of HTTP 1.1.
        self.send(&mut stream, "GET", path, "1.0").map_err(|cause| self.silent(path, &cause))?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader).map_err(|cause| self.silent(path, &cause))?;
        let status = status(&head).map_err(|cause| self.silent(path, &cause))?;
        if status != 200 {
            let mut body = String::new();
            reader.take(MAX_ANSWER).read_to_string(&mut body).ok();
            return self.check(&Answer { status, body });
        }
        let mut name = String::new();
        for line in reader.lines() {
            let line = line.map_err(|error| self.silent(path, &error.to_string()))?;
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let event = Event { name: std::mem::take(&mut name), data: data.to_owned() };
                if !take(&event) {
                    return Ok(());
                }
            } else if line.starts_with(':') && !take(&Event { name: String::new(), data: String::new() }) {
                return Ok(());
            }
        }
        Err(Failure::runtime(format!("the host at {} has ended", self.address)))
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let mut targets = self.address.to_socket_addrs().map_err(|error| error.to_string())?;
        let target = targets.next().ok_or("the name has no address")?;
        let stream = TcpStream::connect_timeout(&target, TIMEOUT).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
        Ok(stream)
    }

    fn send(&self, stream: &mut TcpStream, method: &str, path: &str, version: &str) -> Result<(), String> {
        let address = &self.address;
        let bearer = self.token.as_ref().map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!(
            "{method} {path} HTTP/{version}\r\nHost: {address}\r\n{bearer}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())
    }

    /// An answer that is no success, in the host's own words.
    fn check(&self, answer: &Answer) -> Result<(), Failure> {
        if answer.status == 200 {
            return Ok(());
        }
        let words = serde_json::from_str::<Value>(&answer.body).ok();
        let words = words.as_ref().and_then(|words| words["error"].as_str()).unwrap_or_else(|| answer.body.trim());
        let hint = match answer.status {
            401 => "; for this command set WASMILL_TOKEN, or name the configuration with -c",
            _ => "",
        };
        Err(Failure::runtime(format!("the host at {} says: {words}{hint}", self.address)))
    }

    fn silent(&self, path: &str, cause: &str) -> Failure {
        let address = &self.address;
        Failure::runtime(format!(
            "no answer from http://{address}{}: {cause}; is the host running there? (--admin ADDR)",
            path.split('?').next().unwrap_or_default()
        ))
    }

    fn stranger(&self, path: &str) -> Failure {
        Failure::runtime(format!("http://{}{path} is answered by something that is not wasmill", self.address))
    }
}

/// Where the host of this configuration listens; an address of all interfaces is asked on loopback.
fn address_of(admin: &Admin) -> Result<String, Failure> {
    let listen = if admin.listen.is_empty() { Admin::default().listen } else { admin.listen.clone() };
    if listen.ends_with(":0") {
        return Err(Failure::config("admin.listen has port 0; name the host's address with --admin ADDR"));
    }
    Ok(reachable(&listen))
}

/// An address of all interfaces as one that can be called.
fn reachable(listen: &str) -> String {
    listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn status(head: &str) -> Result<u16, String> {
    let status = head.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok());
    status.ok_or_else(|| "not an HTTP answer".to_owned())
}

fn read_head(reader: &mut impl BufRead) -> Result<String, String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && head.len() < 64 << 10 {
        match reader.read_line(&mut head) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(head)
}

/// Text as part of a query or path.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => encoded.push(byte as char),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_part_of_a_query() {
        assert_eq!(encoded("a b&c=ü/#"), "a%20b%26c%3D%C3%BC%2F%23");
    }

    #[test]
    fn an_address_of_all_interfaces_is_asked_on_loopback() {
        let admin = |listen: &str| Admin { listen: listen.into(), token: None };
        assert_eq!(address_of(&admin("0.0.0.0:99")).unwrap(), "127.0.0.1:99");
        assert_eq!(address_of(&admin("")).unwrap(), "127.0.0.1:8686");
        assert!(address_of(&admin("127.0.0.1:0")).unwrap_err().message.contains("--admin"));
    }
}
