use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::*;
use crate::config::Secret;
use crate::health::Health;
use crate::logs::recent::Recent;
use crate::metrics::Metrics;

struct Running {
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn server() -> Running {
    server_on(&Admin { listen: "127.0.0.1:0".into(), token: Some(Secret::new(TOKEN)) })
}

fn server_on(admin: &Admin) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let board = Board::new(Metrics::new(), Health::new(), Recent::new());
    let server = start(admin, &board, runtime.handle()).unwrap().unwrap();
    let (metrics, health) = (board.metrics.clone(), board.health.clone());
    Running { address: server.address, health, metrics, board, _server: server, _runtime: runtime }
}

impl Running {
    fn get(&self, path: &str) -> String {
        self.request(path, &self.address.to_string())
    }

    fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.address.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(&self, path: &str, headers: &str) -> String {
        self.ask(&format!("POST {path} HTTP/1.1\r\nHost: {}{headers}", self.address))
    }

    fn request(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn readiness_names_its_reasons() {
    let server = server();
    assert!(server.get("/health/ready").starts_with("HTTP/1.1 200"));
    server.health.problem("sink postgres", "connection refused");
    let answer = server.get("/health/ready");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(r#"{"name":"sink postgres","reason":"connection refused"}"#), "{answer}");
    assert!(server.get("/health/live").starts_with("HTTP/1.1 200"));
    server.health.solved("sink postgres");
    assert!(server.get("/health/ready").starts_with("HTTP/1.1 200"));
    server.health.draining();
    assert!(server.get("/health/ready").starts_with("HTTP/1.1 503"));
}

#[test]
fn metrics_are_openmetrics() {
    let server = server();
    let labels = crate::metrics::ByTopic { flow: "quotes".into(), topic: "topic_quotes".into() };
    server.metrics.records_in.get_or_create(&labels).inc_by(7);
    let answer = server.get("/metrics");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains(r#"wasmill_records_in_total{flow="quotes",topic="topic_quotes"} 7"#), "{answer}");
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
}

#[test]
fn the_page_brings_everything_along() {
    let server = server();
    let index = server.get("/");
    for path in ["/page.css", "/page.js"] {
        assert!(index.contains(&format!("\"{path}\"")), "{index}");
        assert!(server.get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(index.contains("content-security-policy: default-src 'none'"), "{index}");
    let whole: usize = ["/", "/page.css", "/page.js"].iter().map(|path| server.get(path).len()).sum();
    assert!(whole < 150 << 10, "{whole} bytes");
    for text in [server.get("/"), server.get("/page.css"), server.get("/page.js")] {
        assert!(!text.contains("http://") && !text.contains("https://"), "nothing is loaded from elsewhere");
    }
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404"));
    assert!(server.get("/api/state").contains(r#""problems":[]"#));
}

#[test]
fn changes_need_the_token_and_another_sites_page_never_has_it() {
    let server = server();
    let flow = server.board.flow("quotes");
    let bearer = format!("\r\nAuthorization: Bearer {TOKEN}");
    for headers in ["", "\r\nAuthorization: Bearer wrong", "\r\nAuthorization: Basic abc"] {
        let answer = server.post("/api/flows/quotes/pause", headers);
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("wasmill page"), "{answer}");
    }
    let foreign = format!("{bearer}\r\nOrigin: http://evil.example");
    assert!(server.post("/api/flows/quotes/pause", &foreign).starts_with("HTTP/1.1 403"));
    assert!(!flow.is_paused());
    let own = format!("{bearer}\r\nOrigin: http://{}", server.address);
    assert!(server.post("/api/flows/quotes/pause", &own).starts_with("HTTP/1.1 200"));
    assert!(flow.is_paused());
    assert!(server.post("/api/flows/quotes/resume", &bearer).contains("goes on"));
    assert!(!flow.is_paused());
    for (path, status) in [("/api/flows/other/pause", "404"), ("/api/flows/quotes/explode", "404")] {
        assert!(server.post(path, &bearer).starts_with(&format!("HTTP/1.1 {status}")), "{path}");
    }
    assert!(server.post("/api/flows/quotes/pause", &format!("{bearer}\r\nContent-Length: 99999")).contains(" 413 "));
}

#[test]
fn other_machines_see_nothing_of_the_flows_without_the_token() {
    let open = Admin { listen: "0.0.0.0:0".into(), token: None };
    let board = Board::new(Metrics::new(), Health::new(), Recent::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = start(&open, &board, runtime.handle()).err().unwrap();
    assert!(error.contains("token") && error.contains("127.0.0.1"), "{error}");

    let server = server_on(&Admin { listen: "0.0.0.0:0".into(), token: Some(Secret::new(TOKEN)) });
    server.health.problem("sink postgres", "the canary");
    let get = |path: &str, more: &str| server.ask(&format!("GET {path} HTTP/1.1\r\nHost: wasmill.svc:80{more}"));
    let bearer = format!("\r\nAuthorization: Bearer {TOKEN}");
    for path in [
        "/metrics",
        "/api/state",
        "/api/history",
        "/api/module-history?flow=f",
        "/api/dead-letters",
        "/api/logs",
        "/api/tap?flow=f",
        "/api/events",
    ] {
        assert!(get(path, "").starts_with("HTTP/1.1 401"), "{path}");
    }
    assert!(get("/api/state", &bearer).contains("the canary"));
    // Whoever orchestrates containers has no token, and needs no reasons.
    assert!(get("/health/live", "").starts_with("HTTP/1.1 200"));
    let ready = get("/health/ready", "");
    assert!(ready.starts_with("HTTP/1.1 503") && !ready.contains("the canary"), "{ready}");
    assert!(get("/health/ready", &bearer).contains("the canary"));
}

#[test]
fn the_token_of_this_machines_user_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = TokenFile::create(1).unwrap();
    assert_eq!(token::read(1).as_deref(), Some(file.token()));
    assert_eq!(file.token().len(), 64);
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(file);
    assert_eq!(token::read(1), None);
}

#[test]
fn another_sites_name_is_refused_on_loopback() {
    let server = server();
    for host in ["evil.example", "evil.example:8686", "127.0.0.1.evil.example", ""] {
        assert!(server.request("/metrics", host).starts_with("HTTP/1.1 403"), "{host}");
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:8686", "[::1]"] {
        assert!(server.request("/metrics", host).starts_with("HTTP/1.1 200"), "{host}");
    }
}

#[test]
fn a_silent_client_is_hung_up_on() {
    let server = server();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHos").unwrap();
    // The end of the stream or a reset, but not the time-out of this side.
    let ended = match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(ended);
}

#[test]
fn an_address_in_use_is_said_in_words() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listen = server.address.to_string();
    let admin = Admin { listen: listen.clone(), token: None };
    let error = start(&admin, &server.board, runtime.handle()).err().unwrap();
    assert!(error.contains(&listen) && error.contains("another process listens there"), "{error}");
}
