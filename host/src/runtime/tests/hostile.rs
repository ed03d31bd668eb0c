//! A record that misbehaves costs only itself.

use super::*;
use std::time::Instant;

const FINE: &str = "0 kafka:hostile_out, 1 postgres:hostile_ok";

/// Puts one value among 99 good ones and expects its verdict there and nowhere else.
#[track_caller]
fn check(module: &Arc<Module>, value: &str, code: Code, words: &str) -> Transformed {
    let mut values: Vec<String> = (0..100).map(|n| format!("fine {n}")).collect();
    values[42] = value.to_owned();
    let began = Instant::now();
    let done = transform(&chain(&[module], quick()), slice(&values));
    let found = fates(100, &done);
    assert_eq!(found[42], code.as_str(), "{:?}", done.verdicts);
    assert!(message(&done, 42).contains(words), "{}", message(&done, 42));
    assert!(message(&done, 42).len() <= effects::LINE_BYTES);
    for (n, fate) in found.iter().enumerate().filter(|(n, _)| *n != 42) {
        assert_eq!(fate, FINE, "record {n}");
    }
    let rows = done.outputs.iter().filter(|o| o.target.sink == "postgres");
    let rows: Vec<String> =
        rows.map(|o| String::from_utf8_lossy(o.value.as_deref().unwrap_or_default()).into()).collect();
    let expected: Vec<String> =
        values.iter().filter(|v| *v != value).map(|v| format!(r#"{{"value":"{v}"}}"#)).collect();
    assert_eq!(rows, expected);
    assert!(began.elapsed() < Duration::from_secs(60), "took {:?}", began.elapsed());
    done
}

#[test]
fn a_trapping_record_costs_only_itself() {
    let done = check(&module!("hostile"), "trap", Code::TRAP, "the record asked for a panic");
    assert!(done.traps > 0 && done.slow == 0);
    assert!(message(&done, 42).contains("t[0]@42"), "{}", message(&done, 42));
    assert!(message(&done, 42).contains("hostile"), "names the function: {}", message(&done, 42));
}

#[test]
fn a_looping_record_costs_only_itself() {
    check(&module!("hostile"), "loop", Code::DEADLINE, "fuel");
}

#[test]
fn a_growing_record_costs_only_itself() {
    check(&module!("hostile"), "grow", Code::MEMORY, "67108864 bytes");
}

#[test]
fn a_record_that_exhausts_the_stack_costs_only_itself() {
    check(&module!("hostile"), "stack", Code::TRAP, "trapped");
}

#[test]
fn a_flood_of_outputs_costs_only_its_record() {
    check(&module!("hostile"), "many", Code::OUTPUT_LIMIT, "1000 outputs");
}

#[test]
fn an_output_bomb_costs_only_its_record() {
    let bomb = module!("hostile");
    let values = ["fine", "bomb", "fine"];
    let done = transform(&chain(&[&bomb], Limits { memory: ByteSize::mib(512), ..Limits::default() }), slice(&values));
    assert_eq!(fates(3, &done), [FINE, "output-limit", FINE], "{:?}", done.verdicts);
    // Under the default memory limit it does not even get that far.
    let done = transform(&chain(&[&bomb], Limits::default()), slice(&values));
    assert_eq!(fates(3, &done), [FINE, "memory", FINE], "{:?}", done.verdicts);
}

#[test]
fn an_undeclared_target_costs_only_its_record() {
    check(&module!("hostile"), "undeclared", Code::UNKNOWN_TARGET, "hostile_elsewhere");
}

#[test]
fn a_flood_of_log_lines_harms_nobody() {
    let done = transform(&chain(&[&module!("hostile")], Limits::default()), slice(&["log", "fine"]));
    assert_eq!(fates(2, &done), ["0 kafka:hostile_out", FINE]);
}

#[test]
fn verdicts_are_the_same_each_time() {
    let hostile = module!("hostile");
    let values: Vec<&str> = ["fine", "trap", "reject", "grow", "many", "stack", "loop"].repeat(3);
    let told = || transform(&chain(&[&hostile], quick()), slice(&values)).verdicts;
    let first = told();
    assert_eq!(first.len(), 18);
    assert_eq!(told(), first);
}

#[test]
fn a_slice_of_endless_loops_ends() {
    let limits = Limits { fuel: 1_000_000, time_per_record: Span(Duration::from_millis(20)), ..Limits::default() };
    let done = transform(&chain(&[&module!("hostile")], limits), slice(&["loop"; 64]));
    assert!(fates(64, &done).iter().all(|fate| fate == "deadline"));
}

#[test]
fn a_record_that_only_needs_longer_is_finished_and_counted() {
    // The shortest deadline there is, one tick of 5 ms, and megabytes of escapes that no machine decodes in it: more of
    // them where the tick came late.
    let limits = Limits { time_per_record: Span(Duration::ZERO), memory: ByteSize::mib(512), ..Limits::default() };
    let quotes = module!("quotes");
    let quote = |text: String| format!(r#"{{"quote":"{text}","character":"c","image":"i"}}"#);
    let is_slow = [1, 2, 4].into_iter().any(|millions| {
        let long = quote("\\u00fc".repeat(millions * 1_000_000));
        let values = [quote("short".into()), long, quote("short".into())];
        let done = transform(&chain(&[&quotes], limits.clone()), slice(&values));
        assert!(done.verdicts.is_empty(), "{:?}", done.verdicts);
        assert_eq!(done.outputs.len(), 6);
        done.slow >= 1
    });
    assert!(is_slow, "the long record needs the metered engine");
}

#[test]
fn a_record_above_the_limit_is_not_handed_over() {
    let limits = Limits { record: ByteSize(1000), ..Limits::default() };
    let values = ["fine".to_owned(), "x".repeat(1000), "fine".to_owned(), "trap".repeat(300)];
    let done = transform(&chain(&[&module!("hostile")], limits), slice(&values));
    assert_eq!(fates(4, &done), [FINE, "too-large", FINE, "too-large"]);
    assert_eq!(done.traps, 0);
}

#[test]
fn a_batch_of_large_honest_records_passes() {
    let values: Vec<String> = (0..40).map(|n| format!("{n}{}", "x".repeat(300_000))).collect();
    let done = transform(&chain(&[&module!("hostile")], Limits::default()), slice(&values));
    assert!(fates(40, &done).iter().all(|fate| fate == FINE), "{:?}", done.verdicts);
}

#[test]
fn a_frame_that_breaks_the_rules_costs_only_its_record() {
    let bad = module!("badframe");
    for word in ["version", "count", "truncated", "source", "kind", "operation", "length", "utf8"] {
        let done = transform(&chain(&[&bad], Limits::default()), slice(&["fine", word, "fine"]));
        assert_eq!(fates(3, &done), ["skip no output", "trap", "skip no output"], "{word}");
        assert!(message(&done, 1).contains("breaks the contract"), "{}", message(&done, 1));
    }
}

#[test]
fn an_instance_that_was_used_up_is_replaced() {
    let chain = chain(&[&module!("hostile")], Limits { memory: ByteSize::mib(8), ..Limits::default() });
    let mut kept = pool::Kept::new(runtime(), || {});
    for round in 0..20 {
        let large = slice(&["y".repeat(1 << 20)]);
        let done = super::transform::transform(&mut kept, &chain, &large);
        assert_eq!(fates(1, &done), [FINE], "round {round}: {:?}", done.verdicts);
    }
}

#[test]
fn a_flow_that_loops_holds_up_no_other_flow() {
    let hostile = module!("hostile");
    let of = |flow: &str| {
        let mut chain = Arc::try_unwrap(chain(&[&hostile], Limits::default())).expect("nobody else has it");
        chain.flow = flow.into();
        Arc::new(chain)
    };
    let (slow, honest) = (of("slow"), of("honest"));
    // One worker: whoever waits for it waits for the loops, each of which takes more than a second.
    let pool = Pool::start(runtime(), 1, Arc::new(|words| panic!("{words}")));
    let (reply, replies) = unbounded();
    for index in 0..3 {
        pool.submit(Job { slice: slice(&["loop"]), chain: slow.clone(), index, reply: reply.clone() });
    }
    for index in 100..150 {
        pool.submit(Job { slice: slice(&["fine"]), chain: honest.clone(), index, reply: reply.clone() });
    }
    let order: Vec<usize> =
        (0..53).map(|_| replies.recv_timeout(Duration::from_secs(60)).expect("a reply").0).collect();
    assert_eq!(order[..50], (100..150).collect::<Vec<_>>(), "the honest flow waits for nobody");
    assert_eq!(order[50..], [0, 1, 2], "the slow flow is served by one");
    pool.stop();
}
