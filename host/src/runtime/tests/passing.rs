//! What comes through unharmed.

use super::*;
use crate::record::decode_headers;

#[test]
fn null_empty_and_absent_pass_through() {
    let chain = chain(&[&module!("typed")], Limits::default());
    let fields: [Option<&[u8]>; 3] = [None, Some(b""), Some(b"x\0\xff")];
    let mut slice = SliceBuilder::new("t".into(), 3);
    let cases: Vec<_> = fields.iter().flat_map(|key| fields.iter().map(move |value| (*key, *value))).collect();
    for (offset, (key, value)) in cases.iter().enumerate() {
        let headers = [("none", None), ("empty", Some(&b""[..])), ("none", Some(&b"again"[..]))];
        slice.push(offset as i64, 5, *key, *value, headers.into_iter().take(offset % 4));
    }
    let done = transform(&chain, slice.build());
    assert_eq!(done.verdicts, vec![]);
    assert_eq!(done.outputs.len(), cases.len());
    for (offset, (output, (key, value))) in done.outputs.iter().zip(&cases).enumerate() {
        assert_eq!((output.record, output.path.to_string()), (offset as u32, "0".into()));
        assert_eq!((output.key.as_deref(), output.value.as_deref(), output.timestamp), (*key, *value, 5));
        let headers = decode_headers(output.headers.count, &output.headers.encoded).expect("headers");
        assert_eq!(headers.len(), offset % 4);
        assert_eq!(headers.first(), (offset % 4 > 0).then_some(&("none", None)));
    }
}

#[test]
fn quotes_become_a_row_and_a_document() {
    let chain = chain(&[&module!("quotes")], Limits::default());
    let quote = r#"{"quote":"D'oh!","character":"Homer","image":"i","more":1.50}"#;
    let done = transform(&chain, slice(&[quote, "not JSON", r#"{"quote":1}"#, quote]));
    let fates = fates(4, &done);
    assert_eq!(fates[0], "0 postgres:quotes, 1 mongodb:simpson_db.quotes");
    assert_eq!(fates[1..3], ["skip not JSON", "reject"]);
    assert_eq!(fates[3], fates[0]);
    assert_eq!(done.outputs[1].value.as_deref(), Some(quote.as_bytes()));
    // A database gets no key that the module did not give.
    assert_eq!(done.outputs[1].key, None);
}

/// The same crate, compiled for both worlds (`quotes-typed` is `quotes` with the feature `wasmill-sdk/typed`).
#[test]
fn both_worlds_say_the_same() {
    let (flat, typed) = (module!("quotes"), module!("quotes-typed"));
    assert_eq!(flat.manifest, typed.manifest);
    let mut records = SliceBuilder::new("topic_quotes".into(), 1);
    for n in 0..600_i64 {
        let value = match n % 5 {
            0 => "not JSON".into(),
            1 => format!(r#"{{"quote":{n}}}"#),
            _ => format!(r#"{{"quote":"q{n}\u00fc","character":"c","image":"{}"}}"#, "i".repeat(n as usize)),
        };
        let key = (n % 7 == 0).then_some(&b"key"[..]);
        let value = (n % 11 != 0).then_some(value.as_bytes());
        records.push(n, n, key, value, [("h", Some(&b"1"[..]))].into_iter());
    }
    let records = records.build();
    let told = |module: &Arc<Module>| {
        let done = transform(&chain(&[module], Limits::default()), records.clone());
        (format!("{:?}", done.outputs), done.verdicts.iter().map(|v| v.ruling.clone()).collect::<Vec<_>>())
    };
    let told_flat = told(&flat);
    assert!(told_flat.0.len() > 10_000 && told_flat.1.len() > 100, "the comparison must not be empty");
    assert_eq!(told_flat, told(&typed));
}

#[test]
fn a_chain_leaves_its_path_in_the_outputs() {
    let (unwrap, quotes) = (module!("unwrap-batch"), module!("quotes"));
    let chain = chain(&[&unwrap, &quotes], Limits::default());
    let quote = r#"{"quote":"q","character":"c","image":"i"}"#;
    let values = [
        format!("[{quote}, {quote}]"),
        format!("[{quote}, \"text\", {{\"quote\":1}}]"),
        "[]".to_owned(),
        format!("[{}]", vec![quote; 700].join(",")),
        "nonsense".to_owned(),
    ];
    let done = transform(&chain, slice(&values));
    let found = fates(5, &done);
    let both = |n: usize| format!("{n}.0 postgres:quotes, {n}.1 mongodb:simpson_db.quotes");
    assert_eq!(found[0], [both(0), both(1)].join(", "));
    assert_eq!(found[1], "reject", "a verdict on one part covers the whole record");
    assert_eq!(found[2], "skip empty batch");
    assert_eq!(found[3], (0..700).map(both).collect::<Vec<_>>().join(", "));
    assert_eq!(found[4], "reject");
    let rejecting: Vec<&str> = done.verdicts.iter().map(|v| &*v.module).collect();
    assert_eq!(rejecting, ["quotes", "unwrap-batch", "unwrap-batch"]);
}

#[test]
fn a_record_is_filtered_only_when_all_its_parts_are() {
    let chain = chain(&[&module!("unwrap-batch"), &module!("quotes")], Limits::default());
    let done = transform(&chain, slice(&["[1, 2]", r#"[1, {"quote":"q","character":"c","image":"i"}]"#]));
    let found = fates(2, &done);
    // A number is JSON of another shape or not JSON at all: either way both parts of the first record agree.
    assert!(found[0] == "skip not JSON" || found[0] == "reject", "{found:?}");
    if found[0] == "skip not JSON" {
        assert_eq!(found[1], "1.0 postgres:quotes, 1.1 mongodb:simpson_db.quotes");
        assert_eq!(done.verdicts.len(), 1);
    }
}

#[test]
fn next_in_the_last_module_is_no_target() {
    let done = transform(&chain(&[&module!("unwrap-batch")], Limits::default()), slice(&["[1]"]));
    assert_eq!(fates(1, &done), ["unknown-target"]);
    assert!(message(&done, 0).contains("last module of its chain"), "{}", message(&done, 0));
}

#[test]
fn every_fate_arrives_with_its_message() {
    let chain = chain(&[&module!("typed")], Limits::default());
    let done = transform(&chain, slice(&["skip", "reject", "retry", "fatal", "unknown", "headers", "database"]));
    let found = fates(7, &done);
    assert_eq!(found[..5], ["skip asked to", "reject", "retry asked to", "fatal asked to", "unknown-target"]);
    assert!(
        message(&done, 4).contains("nowhere-4") && message(&done, 4).contains("kafka:typed_out"),
        "{}",
        message(&done, 4)
    );
    assert_eq!(found[5], "0 kafka:typed-headers");
    assert_eq!(found[6], "0 postgres:typed, 1 mongodb:typed.values");
    let output: &Output = &done.outputs[0];
    assert_eq!((output.key.as_deref(), output.timestamp, output.partition), (Some(&b"k"[..]), 7, Some(0)));
    let headers = decode_headers(output.headers.count, &output.headers.encoded).expect("headers");
    assert_eq!(headers, [("a", Some(&b"1"[..])), ("b", None)]);
}

#[test]
fn variables_reach_every_instance() {
    let patience = module!("retry");
    let impatient = transform(&chain(&[&patience], Limits::default()), slice(&["retry", "fatal", "other"]));
    assert_eq!(fates(3, &impatient), ["retry not yet", "fatal not without an operator", "0 postgres:retry_ok"]);
    let set = r#"{"vars":{"let_through":"1"}}"#;
    let let_through = transform(&chain_with(&[&patience], Limits::default(), set), slice(&["retry", "fatal"]));
    assert_eq!(fates(2, &let_through), ["0 postgres:retry_ok", "0 postgres:retry_ok"]);
}
