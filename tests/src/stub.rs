//! A web server of a test's own: it answers as the test says and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A server that answers as long as the process lives.
#[derive(Clone, Debug)]
pub struct Stub {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Stub {
    /// Answers request number `n`, from 0, with `answer(request, n)`.
    pub fn new(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        Stub::at("127.0.0.1:0", answer).expect("a free port")
    }

    /// The same at a given address.
    pub fn at(
        address: &str,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let stub = Stub { url: format!("http://{}", listener.local_addr()?), asked: Arc::default() };
        let asked = stub.asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who goes away in the middle is no concern of ours.
                serve(stream, &asked, &answer).unwrap_or_default();
            }
        });
        Ok(stub)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut stream: TcpStream,
    asked: &Mutex<Vec<Request>>,
    answer: &impl Fn(&Request, usize) -> Answer,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).take(1 << 16).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request = Request { path: first.split(' ').nth(1).unwrap_or_default().into(), headers: Vec::new() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().into()));
    }
    let number = {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(request.clone());
        asked.len() - 1
    };
    let Answer { status, headers, body } = answer(&request, number);
    write!(stream, "HTTP/1.1 {status} Stub\r\nConnection: close\r\n")?;
    headers.iter().try_for_each(|(name, value)| write!(stream, "{name}: {value}\r\n"))?;
    let length = if status == 304 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{length}\r\n{}", if status == 304 { "" } else { &body })
}
