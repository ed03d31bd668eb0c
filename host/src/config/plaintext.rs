//! Which connections of a configuration nothing protects on their way. They are fine on one machine and in a private
//! network; beyond, they have to be asked for with `allow_plaintext`.
//!
//! Names whose addresses have to be looked up are looked up once, at the start. One that has no address then is not
//! refused, since a resolver that is away must not keep a host from starting: a warning names it. Brokers that the cluster
//! itself names later are not looked at.

use super::load::key_name;
use super::report::{Problem, Report};
use super::{Config, Sink};
use crate::reach::Reach;

/// A connection in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The key that it comes from.
    pub path: Vec<String>,
    pub host: String,
    /// What to do where it goes too far.
    pub help: String,
}

impl Open {
    /// What is wrong with it where it goes too far.
    pub fn message(&self) -> String {
        format!(
            "{} is neither this machine nor in a private network, and what is sent there is not encrypted",
            self.host
        )
    }

    /// The key, as `sinks.mongodb.url`.
    pub fn key(&self) -> String {
        key_name(&self.path)
    }
}

/// Every connection in the clear that was not allowed, wherever it goes.
pub fn open(config: &Config) -> Vec<Open> {
    let mut open = Vec::new();
    let kafka = &config.kafka;
    let protocol = kafka.properties.get("security.protocol").map_or("plaintext".into(), ToString::to_string);
    if !kafka.allow_plaintext && !protocol.to_ascii_lowercase().ends_with("ssl") {
        let help = "set \"security.protocol\" = \"SASL_SSL\" or \"SSL\" in [kafka.properties], or allow_plaintext = true \
                    in [kafka]";
        let hosts = kafka.brokers.split(',').map(|broker| host_of(broker.trim()));
        let path = || vec!["kafka".to_owned(), "brokers".to_owned()];
        open.extend(hosts.map(|host| Open { path: path(), host: host.to_owned(), help: help.to_owned() }));
    }
    for (name, sink) in config.sinks.iter().filter(|(_, sink)| !sink.allow_plaintext) {
        let path = || vec!["sinks".to_owned(), name.clone(), "url".to_owned()];
        let (hosts, ask) = of_sink(sink);
        let help = format!("{ask} in the URL, or allow_plaintext = true in [sinks.{name}]");
        open.extend(hosts.into_iter().map(|host| Open { path: path(), host, help: help.clone() }));
    }
    open
}

/// Refuses what goes too far, as `find` tells; returns what nobody can tell of now.
pub fn check(config: &Config, find: impl Fn(&str) -> Reach) -> Result<Vec<Open>, Report> {
    let mut found: Vec<(Open, Reach)> = Vec::new();
    for open in open(config) {
        let known = found.iter().find(|(other, _)| other.host == open.host).map(|(_, reach)| *reach);
        let reach = known.unwrap_or_else(|| find(&open.host));
        found.push((open, reach));
    }
    let refused = found.iter().filter(|(_, reach)| *reach == Reach::Public);
    let problems: Vec<Problem> =
        refused.map(|(open, _)| Problem::new(open.key(), open.message()).help(&open.help)).collect();
    if !problems.is_empty() {
        return Err(Report::new(config.file.as_deref(), "", problems));
    }
    Ok(found.into_iter().filter(|(_, reach)| *reach == Reach::Unknown).map(|(open, _)| open).collect())
}

/// The hosts that a sink talks to in the clear, and what would change it.
fn of_sink(sink: &Sink) -> (Vec<String>, &'static str) {
    let url = sink.url.expose();
    if sink.is_postgres() {
        // Without a mode it is verified wherever it goes too far.
        let weak = ["disable", "allow", "prefer"];
        let mode = parameter(url, &["sslmode", "ssl-mode"]).unwrap_or_default().to_ascii_lowercase();
        let hosts = if weak.contains(&&*mode) { postgres_hosts(url) } else { Vec::new() };
        return (hosts, "write sslmode=verify-full");
    }
    // `mongodb+srv` means TLS unless the URL says otherwise.
    let default = if url.starts_with("mongodb+srv://") { "true" } else { "false" };
    let tls = parameter(url, &["tls", "ssl"]).unwrap_or(default);
    let hosts = if url.starts_with("mongodb") && tls != "true" { hosts(url) } else { Vec::new() };
    (hosts, "write tls=true")
}

fn postgres_hosts(url: &str) -> Vec<String> {
    match parameter(url, &["hostaddr", "host"]) {
        Some(host) => vec![host.replace("%2F", "/").replace("%2f", "/")],
        None => hosts(url),
    }
}

/// The hosts between the password and the path.
fn hosts(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    // A socket's path is written with `%2F`.
    let socket = |host: &&str| !host.to_ascii_lowercase().contains("%2f");
    hosts.split(',').filter(socket).map(|host| host_of(host).to_owned()).collect()
}

/// The value of a URL's parameter under the first of its names that is there.
pub(crate) fn parameter<'a>(url: &'a str, names: &[&str]) -> Option<&'a str> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or(query);
    let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
    names.iter().find_map(|wanted| pairs().find(|(name, _)| name == wanted).map(|(_, value)| value))
}

/// Without the protocol and the port.
fn host_of(address: &str) -> &str {
    let address = address.rsplit_once("://").map_or(address, |(_, address)| address);
    match address.rsplit_once(':') {
        // More colons than one are those of an address without a port.
        Some((host, port)) if !port.ends_with(']') && (host.ends_with(']') || !host.contains(':')) => host,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scalar;
    use crate::reach;

    fn with(brokers: &str, protocol: Option<&str>, sinks: &[&str]) -> Config {
        let mut config = Config::default();
        config.kafka.brokers = brokers.into();
        let protocol = protocol.map(|p| ("security.protocol".to_owned(), Scalar::Text(p.into())));
        config.kafka.properties.extend(protocol);
        config.sinks.extend(sinks.iter().enumerate().map(|(n, url)| (format!("s{n}"), Sink::at(*url))));
        config
    }

    fn hosts_of(config: &Config) -> Vec<String> {
        open(config).into_iter().map(|open| format!("{} {}", open.key(), open.host)).collect()
    }

    #[test]
    fn brokers_are_in_the_clear_without_ssl() {
        let brokers = "a:9092, PLAINTEXT://b.example:1 ,[::1]:9092,2001:db8::1,10.0.0.1";
        let all = ["a", "b.example", "[::1]", "2001:db8::1", "10.0.0.1"].map(|host| format!("kafka.brokers {host}"));
        for protocol in [None, Some("plaintext"), Some("SASL_PLAINTEXT")] {
            assert_eq!(hosts_of(&with(brokers, protocol, &[])), all);
        }
        for protocol in ["ssl", "SSL", "sasl_ssl", "SASL_SSL"] {
            assert_eq!(hosts_of(&with(brokers, Some(protocol), &[])), [""; 0]);
        }
    }

    #[test]
    fn sinks_are_in_the_clear_where_their_url_says_so() {
        let urls = [
            "postgres://u:p@db.example/x",
            "postgres://u:p@db.example/x?sslmode=disable",
            "postgres://u:p@db.example:5433/x?application_name=a&sslmode=prefer",
            "postgres://u@/x?host=other.example&sslmode=allow",
            "postgres://u@db.example/x?sslmode=require",
            "postgres://u@db.example/x?sslmode=verify-full",
            "mongodb://u:p%40@a.example:27017,b.example/x",
            "mongodb://a.example/?tls=true",
            "mongodb://a.example/?ssl=false",
            "mongodb://%2Ftmp%2Fmongodb.sock/",
            "mongodb+srv://c.example/",
            "mongodb+srv://d.example/?tls=false",
            "sqlite://x.db",
        ];
        let expected = [
            "s1 db.example",
            "s2 db.example",
            "s3 other.example",
            "s6 a.example",
            "s6 b.example",
            "s8 a.example",
            "s11 d.example",
        ];
        let found = open(&with("localhost", Some("ssl"), &urls));
        let mut found: Vec<String> = found.iter().map(|open| format!("{} {}", open.path[1], open.host)).collect();
        found.sort_by_key(|line| line[1..line.find(' ').unwrap_or(1)].parse::<usize>().unwrap_or_default());
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_allowed_is_not_looked_at() {
        let mut config = with("b.example", None, &["mongodb://a.example/"]);
        assert_eq!(open(&config).len(), 2);
        config.kafka.allow_plaintext = true;
        config.sinks.values_mut().for_each(|sink| sink.allow_plaintext = true);
        assert_eq!(open(&config), []);
    }

    #[test]
    fn the_public_is_refused_with_what_to_write_and_the_unknown_is_told() {
        let config = with("kafka.example:9092,10.0.0.1", None, &["mongodb://u:geheim@mongo.example/"]);
        let find = |host: &str| match host {
            "kafka.example" => Reach::Public,
            "mongo.example" => Reach::Unknown,
            other => reach::of(other),
        };
        let report = check(&config, find).expect_err("refused").to_string();
        assert!(report.contains("kafka.brokers: kafka.example is neither"), "{report}");
        assert!(report.contains("SASL_SSL") && report.contains("allow_plaintext = true in [kafka]"), "{report}");
        assert!(!report.contains("geheim") && !report.contains("mongo.example"), "{report}");
        let unknown = check(&config, |host| if host == "kafka.example" { Reach::Private } else { find(host) });
        let unknown = unknown.expect("nothing is known to be public");
        assert_eq!(unknown.iter().map(|open| open.host.as_str()).collect::<Vec<_>>(), ["mongo.example"]);
    }
}
