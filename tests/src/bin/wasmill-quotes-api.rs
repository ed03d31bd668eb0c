//! Stands in for the web API of Simpsons quotes, where none can be reached: `/quotes?count=N` answers with an array of N
//! quotes, other ones each time, in a fixed order. Every seventh question is answered with 503, as real ones do.
//!
//! `wasmill-quotes-api [ADDRESS:PORT]` prints its address and runs until it is ended.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use serde_json::json;
use wasmill_tests::stub::{Answer, Request, Stub};

const QUOTES: [(&str, &str); 8] = [
    ("D'oh!", "Homer Simpson"),
    ("Eat my shorts!", "Bart Simpson"),
    ("Mmm… donuts.", "Homer Simpson"),
    ("Excellent.", "Mr. Burns"),
    ("I'm learnding!", "Ralph Wiggum"),
    ("¡Ay, caramba!", "Bart Simpson"),
    ("Facts are meaningless; they can prove anything.", "Homer Simpson"),
    ("If anyone needs me, I'll be in my room.", "Lisa Simpson"),
];
/// Most quotes of one answer.
const MOST: usize = 100;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let given = AtomicUsize::new(0);
    let stub = Stub::at(&address, move |request, number| answer(request, number, &given))
        .with_context(|| format!("listening on {address}"))?;
    writeln!(std::io::stdout(), "{}", stub.url).context("writing to stdout")?;
    loop {
        std::thread::park();
    }
}

fn answer(request: &Request, number: usize, given: &AtomicUsize) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path != "/quotes" {
        return Answer::new(404, "ask for /quotes?count=N");
    }
    if number % 7 == 3 {
        return Answer::new(503, "<html><body>503 Service Unavailable</body></html>");
    }
    let count = query.split('&').find_map(|pair| pair.strip_prefix("count=")?.parse().ok()).unwrap_or(1).min(MOST);
    let first = given.fetch_add(count, Ordering::Relaxed);
    let quotes: Vec<serde_json::Value> = (first..first + count).map(quote).collect();
    Answer::new(200, serde_json::Value::Array(quotes).to_string()).header("Content-Type", "application/json")
}

fn quote(number: usize) -> serde_json::Value {
    let (quote, character) = QUOTES[number % QUOTES.len()];
    let name = character.to_lowercase().replace([' ', '.'], "");
    json!({
        "quote": quote,
        "character": character,
        "image": format!("https://images.example/{name}.png"),
        "characterDirection": if number.is_multiple_of(2) { "Right" } else { "Left" },
    })
}
