//! A web address that is asked again and again. Answers are cut into records; an answer that has not changed is not sent
//! again where the server says so (ETag, Last-Modified). What may pass is retried with back-off, and said.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use ureq::http::{HeaderName, HeaderValue, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error};

use super::{About, Outlet, Record, Resume, Source, Trouble, json, utf8};
use crate::sinks::backoff;

/// Attempts for one answer of a feed that is to end.
const ATTEMPTS: u32 = 5;
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Largest answer.
const LARGEST_BODY: u64 = 64 << 20;
/// A proxy's or a maintenance page's text that is shown.
const SHOWN: usize = 200;

/// What to ask for and how.
#[derive(Clone, Debug)]
pub struct Poll {
    pub url: String,
    /// Time between the beginnings of two polls; `None` asks once.
    pub every: Option<Duration>,
    /// Answers after which it ends; unchanged ones count. `None`: it never does.
    pub polls: Option<u64>,
    /// Where in the body the records are; empty for all of it.
    pub pointer: String,
    pub headers: Vec<(String, String)>,
    /// Longest time for one answer.
    pub timeout: Duration,
    /// The whole body is one record, whatever it is.
    pub raw: bool,
    /// Certificates to trust instead of the usual ones: a PEM file.
    pub ca: Option<PathBuf>,
    /// The last answer that was fed in full.
    pub etag: Option<String>,
}

/// A poll that is ready.
pub struct Http {
    poll: Poll,
    /// The address without what may be secret: user and query.
    name: String,
    agent: Agent,
    headers: Vec<(HeaderName, HeaderValue)>,
    validators: Validators,
    number: u64,
}

/// What tells the server which answer is known.
#[derive(Clone, Debug, Default)]
struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// Why there was no answer to use.
#[derive(Debug)]
enum Miss {
    /// It may pass; the server may have said when.
    Passing(String, Option<Duration>),
    /// Somebody has to change something.
    Refused(String),
}

impl Http {
    /// Checks what can be checked without asking.
    pub fn new(poll: Poll) -> Result<Self, Trouble> {
        let uri: Option<Uri> = poll.url.parse().ok();
        let fits = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        if !uri.as_ref().is_some_and(fits) {
            return Err(Trouble::Request(format!("`{}` is no address: write http://… or https://…", name(&poll.url))));
        }
        let headers = poll.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        let etag = poll.etag.as_deref().map(HeaderValue::from_str).transpose();
        let etag = etag.map_err(|_| Trouble::Request("the ETag holds something that no ETag can".into()))?;
        let agent = agent(&poll)?;
        let validators = Validators { etag, modified: None };
        let name = name(&poll.url);
        Ok(Http { poll, name, agent, headers, validators, number: 0 })
    }

    /// One question, and its records into the outlet.
    fn ask(&mut self, out: &Outlet) -> Result<Result<(), Miss>, Trouble> {
        let mut answer = match self.request() {
            Ok(answer) => answer,
            Err(miss) => return Ok(Err(miss)),
        };
        if answer.status() == 304 {
            return Ok(Ok(()));
        }
        let kept = |name: &str| answer.headers().get(name).cloned();
        let validators = Validators { etag: kept("etag"), modified: kept("last-modified") };
        let body = match answer.body_mut().with_config().limit(LARGEST_BODY).read_to_vec() {
            Ok(body) => body,
            Err(cause) => return Ok(Err(self.miss(&cause))),
        };
        if let Err(words) = self.feed(&body, &validators, out)? {
            return Ok(Err(Miss::Passing(format!("the answer of {} cannot be used: {words}", self.name), None)));
        }
        self.validators = validators;
        Ok(Ok(()))
    }

    fn request(&self) -> Result<Response<Body>, Miss> {
        let mut request = self.agent.get(&self.poll.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Validators { etag, modified } = &self.validators;
        for (name, value) in [("if-none-match", etag), ("if-modified-since", modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut answer = request.call().map_err(|cause| self.miss(&cause))?;
        let status = answer.status();
        if status.is_success() || status == 304 {
            return Ok(answer);
        }
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let said = answer.body_mut().with_config().limit(1 << 16).read_to_vec().unwrap_or_default();
        let mut words = format!("{} answered {status}", self.name);
        let said = shown(&said);
        if !said.is_empty() {
            write!(words, ": {said}").ok();
        }
        match status.as_u16() {
            408 | 425 | 429 | 500.. => Err(Miss::Passing(words, after)),
            401 | 403 => Err(Miss::Refused(format!("{words}; give it what it wants with --header 'Name: value'"))),
            _ => Err(Miss::Refused(words)),
        }
    }

    fn miss(&self, cause: &Error) -> Miss {
        let words = format!("no answer from {}: {cause}", self.name);
        match cause {
            Error::BodyExceedsLimit(_) => Miss::Refused(format!(
                "the answer of {} is larger than {} MiB: ask for less at a time",
                self.name,
                LARGEST_BODY >> 20
            )),
            Error::Tls(_) | Error::Rustls(_) => {
                Miss::Refused(format!("{words}; name the certificate authority with --ca FILE"))
            }
            Error::BadUri(_) | Error::Http(_) | Error::TooManyRedirects | Error::RedirectFailed => Miss::Refused(words),
            _ => Miss::Passing(words, None),
        }
    }

    /// The records of an answer, or what is wrong with it; nothing was sent then.
    fn feed(&mut self, body: &[u8], validators: &Validators, out: &Outlet) -> Result<Result<(), String>, Trouble> {
        let mark = validators.etag.as_ref().and_then(|etag| etag.to_str().ok()).map(Arc::<str>::from);
        if self.poll.raw {
            self.number += 1;
            return out.send(Record { value: body.to_vec(), number: self.number, mark, key: None }).map(Ok);
        }
        let found = utf8(body).and_then(|text| json::select(text, &self.poll.pointer));
        let records = match &found {
            Ok(value) => json::elements(value),
            Err(words) => return Ok(Err(format!("{words}; it begins with: {}", shown(body)))),
        };
        let last = records.len();
        for (index, value) in records.into_iter().map(RawValue::get).enumerate() {
            self.number += 1;
            // Only with its last record is an answer fed.
            let mark = mark.clone().filter(|_| index + 1 == last);
            out.send(Record { value: value.as_bytes().to_vec(), number: self.number, mark, key: None })?;
        }
        Ok(Ok(()))
    }
}

impl Source for Http {
    fn about(&self) -> About {
        let endless = self.poll.every.is_some() && self.poll.polls.is_none();
        About { name: self.name.clone(), unit: "record", resume: Resume::Mark("--etag"), endless }
    }

    fn run(mut self: Box<Self>, out: &Outlet) -> Result<(), Trouble> {
        let endless = self.about().endless;
        let polls = if self.poll.every.is_none() { Some(1) } else { self.poll.polls };
        let (mut answers, mut failures) = (0, 0);
        while polls.is_none_or(|polls| answers < polls) {
            let begun = Instant::now();
            let (words, wait) = match self.ask(out)? {
                Ok(()) => {
                    (answers, failures) = (answers + 1, 0);
                    if polls != Some(answers) {
                        out.wait(self.poll.every.unwrap_or_default().saturating_sub(begun.elapsed()))?;
                    }
                    continue;
                }
                // What has worked before may work again.
                Err(Miss::Refused(words)) if answers == 0 => return Err(Trouble::Data(words)),
                Err(Miss::Refused(words)) => (words, None),
                Err(Miss::Passing(words, after)) => (words, after),
            };
            failures += 1;
            if !endless && failures >= ATTEMPTS {
                return Err(Trouble::Environment(format!("{words} ({failures} times)")));
            }
            let wait = wait.unwrap_or_else(|| backoff::next(failures + 2));
            out.note(format!("{words}; trying again in {:.1} s", wait.as_secs_f64()))?;
            out.wait(wait)?;
        }
        Ok(())
    }
}

fn agent(poll: &Poll) -> Result<Agent, Trouble> {
    let mut tls = TlsConfig::builder();
    if let Some(file) = &poll.ca {
        let failed =
            |cause: String| Trouble::Request(format!("could not read certificates from {}: {cause}", file.display()));
        let pem = std::fs::read(file).map_err(|cause| failed(cause.to_string()))?;
        let items = parse_pem(&pem).collect::<Result<Vec<_>, _>>().map_err(|cause| failed(cause.to_string()))?;
        let certificates = items.into_iter().filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<_> = certificates.collect();
        if certificates.is_empty() {
            return Err(failed("it holds none".into()));
        }
        tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(poll.timeout))
        .user_agent(concat!("wasmill/", env!("CARGO_PKG_VERSION")))
        .accept("application/json, */*;q=0.5")
        .tls_config(tls.build());
    Ok(config.build().new_agent())
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Trouble> {
    let wrong = || Trouble::Request(format!("`{name}` is no header: write 'Name: value'"));
    let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    Ok((name.parse().map_err(|_| wrong())?, value))
}

/// An address for messages.
fn name(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (scheme, rest) = url[..end].split_once("://").unwrap_or(("", &url[..end]));
    let host = rest.split('/').next().unwrap_or_default();
    let rest = &rest[host.rfind('@').map_or(0, |at| at + 1)..];
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

/// The beginning of a body, in one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::{name, shown};

    #[test]
    fn messages_show_neither_user_nor_query() {
        for (url, shown) in [
            ("https://api.example/quotes?key=s3cret", "https://api.example/quotes"),
            ("http://me:s3cret@h:80/a@b", "http://h:80/a@b"),
            ("h?x", "h"),
        ] {
            assert_eq!(name(url), shown);
        }
    }

    #[test]
    fn bodies_are_shown_in_one_short_line() {
        assert_eq!(shown(b"<html>\n  <body>\x07x"), "<html> <body> x");
        assert_eq!(shown("ü".repeat(1_000).as_bytes()).chars().count(), 200);
    }
}
