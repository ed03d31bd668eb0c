use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::*;

struct Server {
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    _runtime: tokio::runtime::Runtime,
}

fn server() -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (metrics, health) = (Metrics::new(), Health::new());
    let address = start("127.0.0.1:0", metrics.clone(), health.clone(), runtime.handle()).unwrap();
    Server { address, health, metrics, _runtime: runtime }
}

impl Server {
    fn get(&self, path: &str) -> String {
        self.request(path, &self.address.to_string())
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
fn the_first_page_links_every_other() {
    let server = server();
    let index = server.get("/");
    for path in ["/health/live", "/health/ready", "/metrics", "/api/state"] {
        assert!(index.contains(&format!("href=\"{path}\"")), "{index}");
        assert!(server.get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404"));
    assert!(server.get("/api/state").contains(r#""problems":[]"#));
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
    let error = start(&listen, Metrics::new(), Health::new(), runtime.handle()).unwrap_err();
    assert!(error.contains(&listen) && error.contains("another process listens there"), "{error}");
}
