//! What an operator does with a running host: sees causes, pauses, rolls back, listens; and who may do that.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wasmill_tests::host::{get, wasmill};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::proxy::Proxy;
use wasmill_tests::{Case, Host, guests, samples, wait_for, wait_until};

const TOKEN: &str = "token-canary-0123456789abcdef";

/// The configuration with a token, which the command line of these tests gets from its environment.
fn start(case: &mut Case) -> Host {
    case.env = vec![("WASMILL_TOKEN".into(), TOKEN.into())];
    case.start_with(&config(case))
}

fn config(case: &Case) -> String {
    case.config().replace("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n"))
}

fn quotes(topic: &str, from: usize, to: usize) -> Vec<Outgoing> {
    (from..to).map(|n| Outgoing::to(topic).value(samples::quote_json(&format!("quote {n}"), "Homer", ""))).collect()
}

#[test]
fn a_paused_flow_writes_nothing_stays_in_its_group_and_goes_on_with_nothing_lost() {
    let mut case = Case::new("op_pause");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("quotes", &topic);
    let group = format!("wasmill.{flow}");
    case.tables.push_str("\n[kafka.properties]\n\"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 500\n");
    case.install("quotes");
    let host = start(&mut case);
    host.runs(&flow);
    kafka::produce(&quotes(&topic, 0, 100));
    case.wait_until_committed(&flow, &topic, 60);
    let paused = case.command(&host, &["flow", "pause", &flow]);
    assert_eq!(paused.code, 0, "{}", paused.stderr);
    wait_until("the state says so", 60, || host.flow_state(&flow)["state"] == "paused");
    assert_eq!(host.metric("wasmill_flow_paused", &[("flow", &flow)]), 1.0);
    kafka::produce(&quotes(&topic, 100, 200));
    // The lag that the host itself tells shows that it sees the records and leaves them.
    wait_until("the lag is told", 60, || host.flow_state(&flow)["lag"] == 100);
    // Longer than the session: a member without heartbeats would be gone.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        assert_eq!((case.database.count("quotes"), kafka::members(&group)), (100, 1));
        thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(host.get("/health/live").0, 200);
    let resumed = case.command(&host, &["flow", "resume", &flow, "--json"]);
    assert!(resumed.code == 0 && resumed.stdout.contains("goes on"), "{}{}", resumed.stdout, resumed.stderr);
    case.wait_until_committed(&flow, &topic, 60);
    let mut rows = case.database.column("SELECT quotes FROM quotes");
    let mut expected: Vec<String> = (0..200).map(|n| format!("quote {n}")).collect();
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
}

#[test]
fn a_rollback_under_load_takes_effect_between_two_batches_and_holds_until_the_file_changes() {
    let mut case = Case::new("op_rollback");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    let host = start(&mut case);
    host.runs(&flow);
    let nothing = case.command(&host, &["flow", "rollback", &flow]);
    assert!(nothing.code == 1 && nothing.stderr.contains("one build only"), "{}", nothing.stderr);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                kafka::produce(&(0..200).map(|_| Outgoing::to(&topic).value("v")).collect::<Vec<_>>());
            }
        });
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for_number(&case, 1);
            case.install_as("numbered", &guests::numbered(2));
            wait_for_number(&case, 2);
            let roll_back = || {
                let rolled = case.command(&host, &["flow", "rollback", &flow]);
                assert_eq!(rolled.code, 0, "{}", rolled.stderr);
                let state = host.flow_state(&flow);
                assert_eq!(state["rolled_back"], true);
                wait_for_number(&case, 1);
                state["last_swap_ms"].as_f64().expect("a time")
            };
            // Three times: the processor may be somewhere else in the middle of one.
            let mut took = roll_back();
            for _ in 0..2 {
                let undone = case.command(&host, &["flow", "rollback", &flow, "--undo"]);
                assert_eq!(undone.code, 0, "{}", undone.stderr);
                wait_for_number(&case, 2);
                took = took.min(roll_back());
            }
            assert!(took < 50.0, "the switch took {took} ms");
            let twice = case.command(&host, &["flow", "rollback", &flow]);
            assert!(twice.code == 1 && twice.stderr.contains("rolled back already"), "{}", twice.stderr);
            // Another file makes the host look at everything again: the one that was sent away stays away.
            case.install_as("other", &guests::bytes("log-data"));
            wait_until("the other module is seen", 60, || host.get("/api/state").1.contains("\"other\""));
            assert_eq!(host.flow_state(&flow)["rolled_back"], true);
            case.install_as("numbered", &guests::numbered(3));
            wait_for_number(&case, 3);
            assert_eq!(host.flow_state(&flow)["rolled_back"], false);
        }));
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load was produced");
        steps.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    case.wait_until_committed(&flow, &topic, 60);
    let numbers = case.database.column("SELECT number FROM numbered ORDER BY \"offset\"");
    let mut runs = numbers.clone();
    runs.dedup();
    assert_eq!(
        runs,
        ["1", "2", "1", "2", "1", "2", "1", "3"],
        "each change is at one place in the order of the records"
    );
    assert_eq!(numbers.len() as i64, kafka::ends(&topic)[&0], "nothing is lost or doubled");
}

fn wait_for_number(case: &Case, number: u32) {
    let sql = "SELECT number FROM numbered ORDER BY \"offset\" DESC LIMIT 1";
    let last = || case.database.try_rows(sql).ok().and_then(|rows| rows.first()?.first().cloned()?);
    wait_until(&format!("module {number} writes"), 60, || last().as_deref() == Some(&number.to_string()));
}

#[test]
fn tap_shows_records_with_what_became_of_them_and_says_what_it_left_out() {
    let mut case = Case::new("op_tap");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("hostile", &topic);
    case.install("hostile");
    let host = start(&mut case);
    host.runs(&flow);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let values = ["good", "reject", "needle in a haystack", "other"];
                let records = (0..400).map(|n| Outgoing::to(&topic).key(format!("k{n}")).value(values[n % 4]));
                kafka::produce(&records.collect::<Vec<_>>());
            }
        });
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| listen(&case, &host, &flow)));
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load was produced");
        steps.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let unknown = case.command(&host, &["tap", "nobody"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no flow nobody"), "{}", unknown.stderr);
}

fn listen(case: &Case, host: &Host, flow: &str) {
    let tapped = |more: &[&str]| -> (Vec<Value>, String) {
        let ended = case.command(host, &[&["tap", flow, "--json"][..], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        (ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), ended.stderr)
    };
    let (records, words) = tapped(&["-n", "200"]);
    assert_eq!(records.len(), 200);
    assert!(words.contains("records not shown"), "more than 50 per second go by: {words}");
    for record in &records {
        let value = record["value"]["text"].as_str().expect("a text");
        let outputs: Vec<&str> =
            record["outputs"].as_array().expect("outputs").iter().filter_map(|o| o["sink"].as_str()).collect();
        let dead: Vec<&str> =
            record["dead"].as_array().expect("verdicts").iter().filter_map(|v| v["code"].as_str()).collect();
        match value {
            "reject" => assert!(outputs.is_empty() && dead == ["reject"], "{record}"),
            _ => assert!(outputs == ["kafka", "postgres"] && dead.is_empty(), "{record}"),
        }
    }
    let (records, _) = tapped(&["-n", "5", "--dead"]);
    assert!(records.len() == 5 && records.iter().all(|record| record["dead"][0]["code"] == "reject"));
    let (records, _) = tapped(&["-n", "5", "--grep", "in a hay"]);
    assert!(records.len() == 5 && records.iter().all(|r| r["value"]["text"] == "needle in a haystack"));
    let text = case.command(host, &["tap", flow, "-n", "1", "--grep", "needle"]);
    assert!(text.stdout.contains("→ postgres:hostile_ok"), "{}", text.stdout);
    let letters: Value = serde_json::from_str(&host.get("/api/dead-letters?code=reject&n=3").1).expect("JSON");
    assert_eq!(letters["letters"].as_array().map(Vec::len), Some(3));
    assert_eq!(letters["letters"][0]["value"]["text"], "reject");
}

#[test]
fn causes_are_named_by_the_command_line() {
    let mut case = Case::new("op_causes");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = start(&mut case);
    host.runs(&flow);
    kafka::produce(&quotes(&topic, 0, 10));
    case.wait_until_committed(&flow, &topic, 60);
    let fine = case.command(&host, &["ls"]);
    assert!(fine.code == 0 && fine.stdout.contains("running"), "{}", fine.stdout);
    proxy.cut();
    case.install_as("broken", b"no wasm");
    kafka::produce(&quotes(&topic, 10, 30));
    let listed = wait_for("`ls` names the database and the module", 60, || {
        let listed = case.command(&host, &["ls"]).stdout;
        (listed.contains("failing") && listed.contains("broken.wasm")).then_some(listed)
    });
    assert!(listed.contains("sink postgres"), "{listed}");
    let inspected = case.command(&host, &["inspect", &flow]);
    assert!(
        inspected.stdout.contains("postgres") && inspected.stdout.contains(&format!("{topic}/0")),
        "{}",
        inspected.stdout
    );
    wait_until("lag and age of the last commit are told", 60, || {
        let partition = &host.flow_state(&flow)["partitions"][0];
        partition["lag"] == 20 && partition["commit_age_seconds"].as_f64() > Some(0.5)
    });
    assert!(host.metric("wasmill_commit_age_seconds", &[("flow", &flow)]) > 0.0);
    assert_eq!(host.metric("wasmill_ready", &[]), 0.0);
    let logs = case.command(&host, &["logs", "-n", "200", "--flow", &flow]);
    assert!(logs.stdout.contains("sink=postgres"), "{}", logs.stdout);
    proxy.restore();
    case.wait_until_committed(&flow, &topic, 60);
    wait_until("the sink works again, and its last error stays to be read", 60, || {
        let sinks = host.flow_state(&flow)["sinks"].clone();
        let sink = sinks.as_array().and_then(|all| all.iter().find(|s| s["name"] == "postgres")).cloned();
        sink.is_some_and(|sink| sink["state"] == "ok" && !sink["last_error"].is_null())
    });
    let top = case.command(&host, &["top", "-n", "2", "--every", "50ms", "--json"]);
    assert_eq!(top.stdout.lines().count(), 2, "{}", top.stderr);
    for name in ["transform_seconds", "end_to_end_seconds", "sink_write_seconds", "batch_records"] {
        let count = host.metric(&format!("wasmill_{name}_count"), &[("flow", &flow)]);
        assert!(count > 0.0, "wasmill_{name} has no observation");
    }
}

#[test]
fn changes_are_for_this_user_and_for_those_with_the_token() {
    let mut case = Case::new("op_token");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let runtime = case.path().join("run");
    std::fs::create_dir(&runtime).expect("created");
    case.env = vec![("XDG_RUNTIME_DIR".into(), runtime.to_string_lossy().into_owned())];
    let host = case.start();
    host.runs(&flow);
    let changed = case.command(&host, &["flow", "pause", &flow]);
    assert_eq!(changed.code, 0, "the user of the host needs no more: {}", changed.stderr);
    let page = case.command(&host, &["page"]);
    assert!(page.stdout.contains("/#token="), "{}", page.stdout);
    let elsewhere = case.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("created");
    let stranger = [("XDG_RUNTIME_DIR".to_owned(), elsewhere.to_string_lossy().into_owned())];
    let address = host.address();
    let refused = wasmill(&["flow", "resume", &flow, "--admin", &address], case.path(), &stranger);
    assert!(refused.code == 1 && refused.stderr.contains("token"), "{}", refused.stderr);
    assert_eq!(host.flow_state(&flow)["paused"], Value::Null);
    assert_eq!(host.flow_state(&flow)["state"], "paused");
    assert_eq!(host.stop().code, 0);
    assert_eq!(std::fs::read_dir(runtime.join("wasmill")).expect("listed").count(), 0, "the token goes with the host");

    let open = case.config().replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"");
    let ended = case.spawn(&open).finish();
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("a token is needed") && ended.stderr.contains("127.0.0.1"), "{}", ended.stderr);
}

#[test]
fn five_hundred_slow_clients_leave_the_flow_going() {
    let mut case = Case::new("op_slow");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = start(&mut case);
    host.ready();
    let mut clients: Vec<TcpStream> = Vec::new();
    for n in 0..500 {
        let mut client = TcpStream::connect(host.address()).expect("the kernel takes the connection");
        // Silent, half a request, a stream that is never read, a body that never ends.
        let said: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GET /api/state HTTP/1.1\r\nHost: local",
            2 => b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
            _ => b"POST /api/flows/x/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
        };
        client.write_all(said).ok();
        clients.push(client);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Byte by byte, so that none is ever silent.
                clients.iter().for_each(|mut client| drop(client.write_all(b"x")));
                thread::sleep(Duration::from_millis(200));
            }
        });
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kafka::produce(&quotes(&topic, 0, 5_000));
            case.wait_until_committed(&flow, &topic, 60);
            assert_eq!(case.database.count("quotes"), 5_000);
            // An operator gets through as soon as the first of them have been cut off.
            let address = host.address();
            let answered = || get(&address, "/health/ready").is_some_and(|(status, _)| status == 200);
            wait_until("an honest request is answered", 60, answered);
        }));
        done.store(true, Ordering::Relaxed);
        steps.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let cut = clients.iter_mut().filter_map(|client| {
        client.set_read_timeout(Some(Duration::from_millis(1))).ok()?;
        match client.read(&mut [0; 4096]) {
            Ok(0) => Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
            _ => None,
        }
    });
    assert!(cut.count() > 0, "nobody was cut off");
    assert!(host.size().1 < 400, "{} files are open", host.size().1);
}

#[test]
fn secrets_and_payloads_are_in_no_log_no_metric_and_no_error() {
    const SECRET: &str = "secret-canary-7f3a";
    const PAYLOAD: &str = "payload-canary-9d1c";
    let mut case = Case::new("op_canary");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    // Passwords that the servers refuse, and ones in places that nobody answers at.
    let wrong = case.database.url_as("nobody", SECRET);
    let right = case.postgres_url.clone();
    let mongo = format!("mongodb://nobody:{SECRET}@127.0.0.1:9/?serverSelectionTimeoutMS=500");
    let mut words = String::new();
    for (postgres, mongodb) in [(&wrong, &case.mongodb_url.clone()), (&right, &mongo)] {
        (case.postgres_url, case.mongodb_url) = (postgres.clone(), mongodb.clone());
        let host = start(&mut case);
        wait_until("the host says what is wrong", 60, || host.get("/health/ready").1.contains("sink"));
        for page in ["/health/ready", "/metrics", "/api/state", "/api/history", "/api/logs?n=500"] {
            words.push_str(&host.get(page).1);
        }
        for arguments in [&["ls"][..], &["inspect", &flow], &["logs", "-n", "500"]] {
            let said = case.command(&host, arguments);
            words.push_str(&format!("{}{}", said.stdout, said.stderr));
        }
        let checked = wasmill(&["check", "-c", "wasmill.toml"], case.path(), &case.env);
        words.push_str(&format!("{}{}", checked.stdout, checked.stderr));
        words.push_str(&host.stop().stderr);
    }
    // Mistakes in the lines that hold secrets.
    case.postgres_url = right;
    case.mongodb_url = wasmill_tests::services::mongodb_url();
    let good = config(&case);
    let url = format!("postgres://me:{SECRET}@db:port/x");
    let mistakes = [
        good.replace(&case.postgres_url, &url),
        good.replace(&case.postgres_url, &format!("postgre://me:{SECRET}@db/x")),
        good.replace("[admin]\n", "[admin]\nwhat = 1\n"),
        format!("{good}\n[kafka.properties]\n\"sasl.password\" = \"{SECRET}\"\n\"sasl.mechanism\" = \"NONSENSE\"\n"),
    ];
    for mistake in &mistakes {
        let said = case.spawn(mistake);
        wait_until("it ends or says something", 60, || said.exited().is_some() || said.stderr().len() > 200);
        words.push_str(&said.stop().stderr);
    }
    // Records that modules and databases refuse, in a flow that goes on and in one that stops before them.
    let bad = [
        format!("{{\"quote\": [\"{PAYLOAD}\"], \"character\": 1, \"image\": \"\"}}"),
        format!("{{\"quote\": \"{PAYLOAD}"),
        samples::quote_json(&PAYLOAD.repeat(60), "Homer", ""),
        samples::quote_json(&format!("{PAYLOAD}\u{0}"), "Homer", ""),
    ];
    kafka::produce(&bad.iter().map(|value| Outgoing::to(&topic).value(value.as_str())).collect::<Vec<_>>());
    let host = start(&mut case);
    case.wait_until_committed(&flow, &topic, 60);
    host.wait_for_metric("wasmill_records_dead_total", &[("flow", &flow)], |dead| dead >= 2.0);
    for page in ["/health/ready", "/metrics", "/api/logs?n=500"] {
        words.push_str(&host.get(page).1);
    }
    wait_until("the dead letters show what nothing else may", 60, || host.get("/api/dead-letters").1.contains(PAYLOAD));
    words.push_str(&host.stop().stderr);
    for canary in [SECRET, PAYLOAD, TOKEN] {
        let place = words.find(canary);
        let around = place.map(|at| {
            &words[words.floor_char_boundary(at.saturating_sub(300))
                ..words.ceil_char_boundary((at + 100).min(words.len()))]
        });
        assert!(around.is_none(), "`{canary}` is told: …{}…", around.unwrap_or_default());
    }
    assert!(words.contains("postgres") && words.contains("mongodb"), "the errors are told all the same");
}
