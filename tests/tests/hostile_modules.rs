//! Files that are made to harm the host: it says what is wrong with them and its other flows never notice.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmill_tests::kafka::{self, Outgoing, Sender};
use wasmill_tests::{Case, Host, guests, samples, wait_until};

/// Records whose latency is measured, and the time between two of them.
const MEASURED: usize = 600;
const PACE: Duration = Duration::from_millis(15);

/// A host with an honest flow, and a way to see that it works.
struct Honest {
    case: Case,
    topic: String,
    flow: String,
    sent: i64,
}

impl Honest {
    fn new(what: &str) -> Self {
        let mut case = Case::new(what);
        let topic = case.topic("in", 1);
        let flow = case.flow_of("quotes", &topic);
        case.install("quotes");
        Honest { case, topic, flow, sent: 0 }
    }

    /// Sends records and waits until they are rows. The first ones also wait for the start of the flow; later ones take
    /// less time than the compiler may.
    #[track_caller]
    fn works(&mut self) {
        let seconds = if self.sent == 0 { 120 } else { 25 };
        let text = |n: i64| samples::quote_json(&format!("quote {n}"), "Homer", "");
        let records: Vec<Outgoing> = (0..200).map(|n| Outgoing::to(&self.topic).value(text(self.sent + n))).collect();
        kafka::produce(&records);
        self.sent += 200;
        self.case.wait_until_committed(&self.flow, &self.topic, seconds);
        assert_eq!(self.case.database.count("quotes"), self.sent);
    }
}

/// Waits until the health names the module with a reason.
#[track_caller]
fn refused(host: &Host, module: &str, words: &[&str]) {
    wait_until(&format!("{module} is refused with one of {words:?}"), 120, || {
        let page = host.get("/health/ready").1;
        page.contains(module) && words.iter().any(|word| page.contains(word))
    });
}

#[test]
fn files_that_lie_are_refused_by_name() {
    let mut honest = Honest::new("liars");
    let host = honest.case.start();
    honest.works();
    let good = guests::bytes("hostile");
    honest.case.install_as("cut", &good[..good.len() / 2]);
    honest.case.install_as("empty", b"");
    honest.case.install_as("text", b"#!/bin/sh\nrm -r /\n");
    honest.case.install_as("huge", &[&b"\0asm\x0d\0\x01\0"[..], &vec![0; 11 << 20]].concat());
    // Lengths within the file that point far behind its end.
    let mut lying = good.clone();
    lying[9..13].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    honest.case.install_as("lying", &lying);
    for module in ["cut", "empty", "text", "huge", "lying"] {
        refused(&host, &format!("module {module}"), &["module."]);
    }
    honest.works();
    assert_eq!(host.stop().code, 0);
}

#[test]
fn a_file_that_keeps_the_compiler_busy_holds_up_no_flow_and_no_stop() {
    let mut honest = Honest::new("bomb");
    let host = honest.case.start();
    honest.works();
    honest.case.install_as("bomb", &bomb(&guests::bytes("hostile"), 2 << 20));
    for _ in 0..5 {
        honest.works();
    }
    refused(&host, "module bomb", &["modules.compile_time", "modules.compile_memory"]);
    honest.works();
    // The compiler's memory is not the host's.
    let (megabytes, _) = host.size();
    assert!(megabytes < 400.0, "{megabytes} MiB");
    // A stop does not wait for the compiler.
    let other = bomb(&guests::bytes("hostile"), (2 << 20) + 120);
    honest.case.install_as("bomb", &other);
    wait_until("the compiler is at work again", 30, || compilers(&host) > 0);
    let begun = std::time::Instant::now();
    assert_eq!(host.stop().code, 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Processes that the host has started.
fn compilers(host: &Host) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.pid())).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children.map(|pids| pids.split_whitespace().count()).sum()
}

#[test]
fn modules_that_loop_grow_flood_and_lie_do_not_slow_a_neighbour_down() {
    let mut case = Case::new("neighbours");
    let (honest, hostile, frames) = (case.topic("honest", 1), case.topic("hostile", 4), case.topic("frames", 1));
    let flow = case.flow_of("log-data", &honest);
    case.install("log-data");
    let attacks = case.named("attacks");
    // Small batches: the first one ends before everything that loops in it has taken minutes.
    case.flow(&attacks, &format!("modules = [\"hostile\"]\ntopics = [\"{hostile}\"]\nbatch = {{ records = 16 }}"));
    case.flow(&case.named("lies"), &format!("modules = [\"badframe\"]\ntopics = [\"{frames}\"]"));
    case.database.execute(
        "CREATE TABLE log_data (ts timestamptz, level text, service text, user_id text, message text, attributes jsonb, \
         at timestamptz DEFAULT clock_timestamp())",
    );
    let host = case.start();
    let sender = Sender::new();
    measure(&case, &sender, &flow, &honest, "warm");
    let alone = measure(&case, &sender, &flow, &honest, "alone");

    case.install("hostile");
    case.install("badframe");
    case.install_as("bomb", &bomb(&guests::bytes("hostile"), 2 << 20));
    let ways = ["loop", "grow", "stack", "bomb", "many", "log", "trap", "fine"];
    let attack = |n: usize| Outgoing::to(&hostile).partition((n % 4) as i32).value(ways[n / 4 % ways.len()]);
    kafka::produce(&(0..4_000).map(attack).collect::<Vec<_>>());
    let lies = ["version", "count", "truncated", "source", "order", "kind", "operation", "length", "utf8", "twice"];
    kafka::produce(&(0..600).map(|n| Outgoing::to(&frames).value(lies[n % lies.len()])).collect::<Vec<_>>());
    let dead = || host.metric("wasmill_records_dead_total", &[("flow", &attacks)]);
    wait_until("the hostile flow is at work", 600, || dead() > 0.0);
    // Below these it is the other programs of the machine that decide, and these not every time; a worker that is not
    // let go costs a second and more whenever it is measured.
    let fits = |(median, p99): &(f64, f64)| *median <= 2.0 * alone.0.max(10.0) && *p99 <= 2.0 * alone.1.max(200.0);
    let mut beside = Vec::new();
    while beside.len() < 3 && !beside.last().is_some_and(fits) {
        beside.push(measure(&case, &sender, &flow, &honest, &format!("beside {}", beside.len())));
    }
    // It has been busy all the time.
    let group = format!("wasmill.{attacks}");
    assert!(kafka::lag(&group, &hostile) > 0, "the hostile flow was done before its neighbour was measured");
    let words = format!("latency in ms, median and p99: alone {alone:?}, beside hostile modules {beside:?}");
    eprintln!("{words}");
    assert!(beside.last().is_some_and(fits), "{words}");
    assert_eq!(host.get("/health/live").0, 200);
    host.kill();
}

/// Sends records at an even pace, waits until they are rows, and returns median and p99 of the time in between, in ms.
fn measure(case: &Case, sender: &Sender, flow: &str, topic: &str, phase: &str) -> (f64, f64) {
    for _ in 0..MEASURED {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        let seconds = now.as_secs_f64();
        let text =
            format!(r#"{{"ts":"2026-01-02T03:04:05Z","level":"{phase}","service":"s","message":"{seconds:.6}"}}"#);
        sender.send(topic, &text);
        std::thread::sleep(PACE);
    }
    sender.flush();
    case.wait_until_committed(flow, topic, 120);
    let sql = format!(
        "SELECT (extract(epoch FROM at)::float8 - message::float8) * 1000 FROM log_data WHERE level = '{phase}' ORDER BY 1"
    );
    let sorted: Vec<f64> = case.database.column(&sql).iter().map(|text| text.parse().expect("a number")).collect();
    assert_eq!(sorted.len(), MEASURED);
    (sorted[MEASURED / 2], sorted[MEASURED * 99 / 100])
}

/// The module with one more function, which nobody calls: so many bytes of `if (x) { x = x + 1 }`, which is a control flow
/// with hundreds of thousands of joins.
fn bomb(module: &[u8], size: usize) -> Vec<u8> {
    const STEP: [u8; 12] = [0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6a, 0x21, 0, 0x0b];
    const SIGNATURE: [u8; 5] = [0x60, 1, 0x7f, 1, 0x7f];
    let mut body = vec![0];
    body.extend(STEP.iter().cycle().take(size / STEP.len() * STEP.len()));
    body.extend([0x20, 0, 0x0b]);
    let code = [leb(body.len()), body].concat();
    let (mut bomb, mut at, mut types) = (module[..8].to_vec(), 8, 0);
    while at < module.len() {
        let id = module[at];
        let (length, start) = read_leb(module, at + 1);
        let mut content = module[start..start + length].to_vec();
        at = start + length;
        // Types, functions and code each get one more.
        if [1, 3, 10].contains(&id) {
            let (count, rest) = read_leb(&content, 0);
            let added = match id {
                1 => SIGNATURE.to_vec(),
                3 => leb(types),
                _ => code.clone(),
            };
            types = if id == 1 { count } else { types };
            content = [leb(count + 1), content[rest..].to_vec(), added].concat();
        }
        bomb.push(id);
        bomb.extend(leb(content.len()));
        bomb.extend(content);
    }
    bomb
}

/// A number and where it ends.
fn read_leb(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        number |= usize::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte & 0x80 == 0 {
            return (number, at);
        }
    }
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
