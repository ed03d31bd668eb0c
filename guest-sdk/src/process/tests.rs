use proptest::prelude::*;

use crate::prelude::*;
use crate::testing::{self, Field, TestRecord, record};

#[derive(Serialize, Table)]
#[table(name = "rows", key = "id")]
struct Row<'a> {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[transform(postgres = [Row], mongodb = ["db.docs"], kafka = ["out", "tenant-*"], next, lake = ["raw"])]
fn echo(record: &Record, out: &mut Outputs) -> Result<()> {
    out.next().headers(record.headers()).key(record.key()).bytes(record.value())?;
    out.kafka("out").unchanged()?;
    if record.value() == Some(b"fail") {
        return reject("after two outputs");
    }
    out.postgres(&Row { id: record.offset(), note: None })
}

#[test]
fn a_failure_drops_the_outputs_of_its_record_only() {
    let ran = testing::run_all::<echo>(&[record().value("1"), record().value("fail"), record().value("3")]);
    assert_eq!(ran.iter().map(|r| r.outputs.len()).collect::<Vec<_>>(), [3, 0, 3]);
    assert_eq!(ran[1].rejected(), Some("after two outputs"));
    assert_eq!((&ran[0].failure, &ran[2].failure), (&None, &None));
}

#[test]
fn an_undeclared_name_is_an_unknown_target_that_says_the_name() {
    #[transform(kafka = ["a"])]
    fn unknown(_: &Record, out: &mut Outputs) -> Result<()> {
        let name = String::from("b");
        out.kafka(&name).unchanged()
    }
    let output = &testing::run::<unknown>(record()).outputs[0];
    assert_eq!((output.sink.as_str(), output.name.as_str()), ("", "kafka:b"));
}

#[test]
fn a_value_that_cannot_be_written_leaves_no_half_output() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            use serde::ser::{Error, SerializeSeq};
            serializer.serialize_seq(None)?.serialize_element(&1)?;
            Err(S::Error::custom("broken"))
        }
    }
    #[transform(kafka = ["out"], mongodb = ["db.docs"])]
    fn swallow(_: &Record, out: &mut Outputs) -> Result<()> {
        assert!(out.kafka("out").json(&Broken).is_err());
        assert!(out.mongodb("db.docs").id(Broken).document(&1).is_err());
        assert!(out.mongodb("db.docs").json_bytes(None).is_err());
        assert!(out.mongodb("db.docs").delete().is_err());
        out.kafka("out").bytes("whole")
    }
    let ran = testing::run::<swallow>(record());
    assert_eq!(ran.outputs.len(), 1);
    assert_eq!(ran.outputs[0].text(), "whole");
}

#[test]
fn null_empty_and_absent_stay_three_things() {
    #[transform(kafka = ["out"], postgres = [Row])]
    fn three(_: &Record, out: &mut Outputs) -> Result<()> {
        out.kafka("out").null_key().tombstone()?;
        out.kafka("out").key("").bytes("")?;
        out.kafka("out").unchanged()?;
        out.kafka("out").key(None::<&[u8]>).header("h", None::<&str>).header("h", "").bytes(None::<&str>)?;
        out.postgres(&Row { id: 1, note: None })
    }
    let outputs = testing::run::<three>(record().key("k").value("v")).outputs;
    assert_eq!((&outputs[0].key, &outputs[0].value), (&Field::Null, &Field::Null));
    assert_eq!((&outputs[1].key, &outputs[1].value), (&Field::Data(vec![]), &Field::Data(vec![])));
    assert_eq!(
        (&outputs[2].key, &outputs[2].value, &outputs[2].headers),
        (&Field::Unchanged, &Field::Unchanged, &None)
    );
    assert_eq!((&outputs[3].key, &outputs[3].value), (&Field::Null, &Field::Null));
    assert_eq!(outputs[3].headers, Some(vec![("h".into(), None), ("h".into(), Some(vec![]))]));
    assert_eq!(outputs[4].text(), r#"{"id":1}"#);
}

#[test]
fn json_is_checked_to_its_end() {
    let is_json = |value: &[u8]| record().value(value).as_record().is_json();
    assert!(is_json(b" {\"a\": [1, null]} ") && is_json(b"1") && is_json(b"\"x\""));
    for not in [&b""[..], b" ", b"{", b"{} x", b"\"\xff\"", b"{'a': 1}", b"nul", b"\xef\xbb\xbf{}"] {
        assert!(!is_json(not), "{not:?}");
    }
    assert!(!record().as_record().is_json());
}

#[test]
fn random_depends_on_the_record_alone() {
    #[transform(kafka = ["out"])]
    fn draw(_: &Record, out: &mut Outputs) -> Result<()> {
        out.kafka("out").json(&[random(), random()])
    }
    let at = |offset| record().offset(offset);
    let alone = testing::run::<draw>(at(5)).outputs[0].json();
    let among = testing::run_all::<draw>(&[at(4), at(5)]);
    assert_eq!(among[1].outputs[0].json(), alone);
    assert_ne!(among[0].outputs[0].json(), alone);
    assert_ne!(alone[0], alone[1]);
}

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn test_record((offset, key, value, headers): &Owned) -> TestRecord {
    let start = record().offset(*offset).key(key.as_deref()).value(value.as_deref());
    headers.iter().fold(start, |record, (name, value)| record.header(name, value.as_deref()))
}

fn field(bytes: &Option<Vec<u8>>) -> Field {
    bytes.clone().map_or(Field::Null, Field::Data)
}

proptest! {
    #[test]
    fn arbitrary_records_pass_both_frames(
        records in proptest::collection::vec(
            (
                0..i64::MAX,
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
                proptest::collection::vec((".{0,5}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..5))), 0..4),
            ),
            1..20,
        )
    ) {
        let ran = testing::run_all::<echo>(&records.iter().map(test_record).collect::<Vec<_>>());
        for (ran, (offset, key, value, headers)) in ran.iter().zip(&records) {
            let [next, out, row] = &ran.outputs[..] else { panic!("three outputs, not {}", ran.outputs.len()) };
            prop_assert_eq!((&next.key, &next.value, &next.headers), (&field(key), &field(value), &Some(headers.clone())));
            prop_assert_eq!((&out.key, &out.value, &out.headers), (&Field::Unchanged, &Field::Unchanged, &None));
            prop_assert_eq!(row.json(), json!({ "id": offset }));
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_taken_for_a_frame_with_more_than_they_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = crate::codec::decode(&bytes);
        if let Some(mut batch) = crate::frame::Batch::parse(&bytes) {
            while let Some(Some(_)) = batch.next() {}
        }
    }
}
