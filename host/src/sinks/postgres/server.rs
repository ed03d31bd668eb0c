//! Where a server is and how it is talked to. Without `sslmode` a server beyond this machine and private networks is
//! talked to over TLS that is verified in full; within, TLS is taken where it is offered, as the driver does. Nothing
//! that is said here holds the URL.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tracing::subscriber::NoSubscriber;

use crate::config::plaintext::parameter;
use crate::reach::{self, Reach};

/// Parameters that the driver reads; of others it would log the value.
const KNOWN: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// A server and how to log in.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    options: PgConnectOptions,
    /// Where nobody has chosen how far TLS goes.
    by_reach: bool,
}

impl Server {
    /// Reads the URL; connects to nothing. The error does not repeat it: it may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Server, String> {
        let mode = parameter(url, &["sslmode", "ssl-mode"]);
        let mode = mode.map(str::to_owned).or_else(|| std::env::var("PGSSLMODE").ok());
        if mode.as_ref().is_some_and(|mode| PgSslMode::from_str(mode).is_err()) {
            let modes = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(format!("wrong in its sslmode; write {modes}"));
        }
        let wrong = "not a PostgreSQL url; write it like postgres://user:password@host:5432/database";
        // The driver logs what it does not know, with its value.
        let parsed = tracing::subscriber::with_default(NoSubscriber::default(), || PgConnectOptions::from_str(url));
        let options = parsed.map_err(|_| wrong.to_owned())?;
        warn_of_unknown(url);
        let root = parameter(url, &["sslrootcert", "ssl-root-cert", "ssl-ca"]).map(decoded);
        let root = root.or_else(|| std::env::var("PGSSLROOTCERT").ok());
        if let Some(file) = root.as_deref().filter(|text| !text.starts_with("-----BEGIN")) {
            std::fs::read(Path::new(file)).map_err(|cause| format!("wrong in its sslrootcert: {file}: {cause}"))?;
        }
        let chosen = mode.is_some().then(|| options.get_ssl_mode());
        let (options, by_reach) = match (chosen, root.is_some()) {
            // As libpq has it: who names an authority wants it to be asked.
            (Some(PgSslMode::Require), true) => (options.ssl_mode(PgSslMode::VerifyCa), false),
            (None, true) => (options.ssl_mode(PgSslMode::VerifyFull), false),
            (chosen, _) => (options, chosen.is_none()),
        };
        Ok(Server { options, by_reach })
    }

    /// With further options of the driver.
    pub(crate) fn with(self, add: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Server {
        Server { options: add(self.options), ..self }
    }

    /// `host:port/database`, for messages.
    pub(crate) fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or(self.options.get_username());
        format!("{}:{}/{database}", self.options.get_host(), self.options.get_port())
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        if !self.by_reach {
            return PgConnection::connect_with(&self.options).await;
        }
        let mode = mode_of(self.reach().await);
        PgConnection::connect_with(&self.options.clone().ssl_mode(mode)).await
    }

    async fn reach(&self) -> Reach {
        if self.options.get_socket().is_some() {
            return Reach::Private;
        }
        let host = self.options.get_host();
        match reach::of(host) {
            Reach::Unknown => {
                let found = tokio::net::lookup_host((host, self.options.get_port())).await;
                let addresses: Vec<IpAddr> = found.map(|found| found.map(|a| a.ip()).collect()).unwrap_or_default();
                reach::of_addresses(addresses)
            }
            known => known,
        }
    }
}

/// How far TLS goes where nobody has chosen. What cannot be told is taken for public.
fn mode_of(reach: Reach) -> PgSslMode {
    match reach {
        Reach::Private => PgSslMode::Prefer,
        Reach::Public | Reach::Unknown => PgSslMode::VerifyFull,
    }
}

fn warn_of_unknown(url: &str) {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    for name in names.filter(|name| !KNOWN.contains(name) && !name.starts_with("options[")) {
        tracing::warn!("the url of a Postgres server has the parameter {name:?}, which is not known and ignored");
    }
}

/// What a person can do about TLS that did not come about.
pub(crate) fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let words = match error {
        sqlx::Error::Tls(_) | sqlx::Error::Io(_) => error.to_string(),
        _ => return None,
    };
    let has = |part| words.contains(part);
    Some(if has("UnknownIssuer") {
        "no authority known here has signed the server's certificate: name the file of the one that has with \
         sslrootcert=/path/ca.pem in the url"
    } else if has("not valid for") || has("NotValidForName") {
        "the server's certificate is for another host: write a name that it holds into the url, or sslmode=verify-ca"
    } else if has("Expired") || has("expired") {
        "the server's certificate has expired: renew it"
    } else if has("invalid peer certificate") {
        "the server's certificate cannot be verified: look at it with `openssl s_client -starttls postgres`"
    } else if has("does not support TLS") {
        "the server offers no TLS: set ssl = on there, or write sslmode=disable into the url (with allow_plaintext = \
         true in the sink where the server is beyond private networks)"
    } else {
        return None;
    })
}

/// `%2F` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<(PgSslMode, bool), String> {
        let server = Server::parse(&format!("postgres://u:geheim@db.example/x{query}"))?;
        Ok((server.options.get_ssl_mode(), server.by_reach))
    }

    #[test]
    fn what_is_chosen_is_kept_and_an_authority_is_asked() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let root = format!("sslrootcert={}", file.path().display().to_string().replace('/', "%2F"));
        let mode = |query: &str| parsed(query).map(|(mode, by_reach)| (format!("{mode:?}"), by_reach));
        for (query, expected) in [
            ("?sslmode=disable".to_owned(), "Disable"),
            ("?sslmode=require".to_owned(), "Require"),
            (format!("?{root}"), "VerifyFull"),
            (format!("?sslmode=require&{root}"), "VerifyCa"),
            (format!("?sslmode=prefer&{root}"), "Prefer"),
        ] {
            assert_eq!(mode(&query), Ok((expected.to_owned(), false)), "{query}");
        }
        assert!(parsed("").is_ok_and(|(_, by_reach)| by_reach));
    }

    #[test]
    fn without_a_choice_only_private_servers_go_unverified() {
        assert!(matches!(mode_of(Reach::Private), PgSslMode::Prefer));
        assert!(matches!(mode_of(Reach::Public), PgSslMode::VerifyFull));
        assert!(matches!(mode_of(Reach::Unknown), PgSslMode::VerifyFull));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (query, words) in [
            ("?sslmode=full", "verify-full"),
            ("?sslrootcert=/no/such/ca.pem", "/no/such/ca.pem: No such file"),
            ("?port=x", "postgres://user:password@host"),
        ] {
            let error = parsed(query).expect_err(query);
            assert!(error.contains(words) && !error.contains("geheim"), "{error}");
        }
        assert_eq!(decoded("%2Fa%20b+c%"), "/a b c%");
    }
}
