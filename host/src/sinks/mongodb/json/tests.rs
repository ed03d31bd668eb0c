use mongodb::bson::{Bson, Document as BsonDocument, RawDocumentBuf, doc};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

/// What the server would read.
fn read(text: &str) -> Result<BsonDocument, String> {
    let document = document(text.as_bytes()).map_err(|flaw| flaw.message)?;
    let whole = document.with_id(document.id.as_ref().unwrap_or(&Value::string("source")));
    let raw = RawDocumentBuf::from_bytes(whole).map_err(|error| error.to_string())?;
    BsonDocument::try_from(raw).map_err(|error| error.to_string())
}

/// JSON as the driver's own reader takes it, with integers as small as they fit.
fn oracle(json: &Json) -> Bson {
    let value: Bson = serde_json::from_value(json.clone()).expect("plain JSON");
    shrunk(value)
}

fn shrunk(value: Bson) -> Bson {
    match value {
        Bson::Int64(n) => i32::try_from(n).map_or(Bson::Int64(n), Bson::Int32),
        Bson::Array(values) => Bson::Array(values.into_iter().map(shrunk).collect()),
        Bson::Document(fields) => {
            Bson::Document(fields.into_iter().map(|(name, value)| (name, shrunk(value))).collect())
        }
        other => other,
    }
}

fn plain_json() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        (-1e9f64..1e9f64).prop_map(Json::from)
    ];
    let leaf =
        prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), number, ".{0,12}".prop_map(Json::from)];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            proptest::collection::vec(("[a-zü_ ]{0,4}", inner), 0..6)
                .prop_map(|f| Json::Object(f.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn plain_json_is_read_as_the_driver_reads_it(fields in proptest::collection::vec(("[a-zü ]{0,4}", plain_json()), 0..6)) {
        let object = Json::Object(fields.into_iter().collect::<Map<String, Json>>());
        let mut wanted = BsonDocument::new();
        wanted.insert("_id", "source");
        wanted.extend(oracle(&object).as_document().expect("an object").clone());
        prop_assert_eq!(read(&object.to_string()), Ok(wanted));
    }

    #[test]
    fn whatever_the_bytes_the_result_is_a_document_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for bytes in [bytes, format!("{{\"a\":{text}}}").into_bytes(), format!("{{\"$date\":{text}}}").into_bytes()] {
            if let Ok(document) = document(&bytes) {
                let raw = RawDocumentBuf::from_bytes(document.with_id(&Value::string("k"))).expect("framed");
                prop_assert!(BsonDocument::try_from(raw).is_ok());
            }
        }
    }

    #[test]
    fn the_order_of_fields_is_kept(names in proptest::collection::hash_set("[a-z]{1,3}", 1..8)) {
        let names: Vec<String> = names.into_iter().collect();
        let text: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let read = read(&format!("{{{}}}", text.join(","))).expect("a document");
        prop_assert_eq!(read.keys().skip(1).cloned().collect::<Vec<_>>(), names);
    }
}

#[test]
fn extended_values_become_what_they_name() {
    let text = json!({
        "_id": { "$oid": "507f1f77bcf86cd799439011" },
        "relaxed": { "$date": "2024-02-29T12:00:00.5Z" },
        "canonical": { "$date": { "$numberLong": "-1" } },
        "decimal": { "$numberDecimal": "12345678901234567890.123456789" },
        "long": { "$numberLong": "1" },
        "double": { "$numberDouble": "NaN" },
        "binary": { "$binary": { "base64": "AAEC", "subType": "04" } },
        "pattern": { "$regularExpression": { "pattern": "^a", "options": "i" } },
        "nested": [{ "at": { "$timestamp": { "t": 1, "i": 2 } } }, { "$minKey": 1 }],
    });
    let read = read(&text.to_string()).expect("a document");
    assert_eq!(read.get_object_id("_id").map(|id| id.to_hex()).ok().as_deref(), Some("507f1f77bcf86cd799439011"));
    assert_eq!(read.get_datetime("relaxed").map(|at| at.timestamp_millis()).ok(), Some(1_709_208_000_500));
    assert_eq!(read.get_datetime("canonical").map(|at| at.timestamp_millis()).ok(), Some(-1));
    assert_eq!(read.get("decimal").map(ToString::to_string).as_deref(), Some("12345678901234567890.123456789"));
    assert_eq!(read.get_i64("long").ok(), Some(1));
    assert!(read.get_f64("double").is_ok_and(f64::is_nan));
    assert!(matches!(read.get("binary"), Some(Bson::Binary(binary)) if binary.bytes == [0, 1, 2]));
    assert!(matches!(read.get("pattern"), Some(Bson::RegularExpression(_))));
    let nested = read.get_array("nested").expect("an array");
    assert!(matches!(nested.as_slice(), [Bson::Document(_), Bson::MinKey]));
}

#[test]
fn integers_are_exact_to_int64_and_doubles_beyond() {
    let wanted = doc! {
        "_id": "source", "a": 2_147_483_647, "b": 2_147_483_648_i64, "c": i64::MIN, "d": 9_223_372_036_854_775_808_f64, "e": 1.0,
        "f": 1e300
    };
    let text = "{\"a\":2147483647,\"b\":2147483648,\"c\":-9223372036854775808,\"d\":9223372036854775808,\"e\":1.0,\"f\":1e300}";
    assert_eq!(read(text), Ok(wanted));
}

#[test]
fn the_documents_own_id_comes_first_wherever_it_stood() {
    assert_eq!(
        read("{\"a\":{\"_id\":1},\"_id\":[],\"b\":2}").map(|d| d.keys().cloned().collect::<Vec<_>>()),
        Ok(vec!["_id".to_owned(), "a".to_owned(), "b".to_owned()])
    );
    assert_eq!(read("{\"_id\":\"x\"}"), Ok(doc! { "_id": "x" }));
}

#[test]
fn what_is_no_document_is_named_without_its_content() {
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(read(&deep(MAX_DEPTH)).is_ok());
    let cases = [
        (deep(MAX_DEPTH + 1), "nested more than 100 levels"),
        (deep(400), "nested more than 100 levels"),
        ("[]".into(), "a JSON object"),
        ("geheim".into(), "a JSON object"),
        ("{} geheim".into(), "trailing characters"),
        ("{\"a\":1,\"b\":{\"c\":1,\"c\":\"geheim\"}}".into(), "field `c` occurs twice"),
        ("{\"_id\":1,\"_id\":2}".into(), "field `_id` occurs twice"),
        ("{\"$set\":{\"a\":\"geheim\"}}".into(), "begins with `$`"),
        ("{\"a\":{\"$set\":\"geheim\"}}".into(), "`$set` is not an extended-JSON value"),
        ("{\"a\":{\"$oid\":\"geheim\"}}".into(), "`$oid` is not an extended-JSON value"),
        ("{\"a\":{\"b\":1,\"$c\":2}}".into(), "begins with `$`"),
        ("{\"a.b\":1}".into(), "contains `.`"),
        ("{\"a\\u0000b\":1}".into(), "contains NUL"),
        ("{\"a\":\"\\ud800\"}".into(), "hex escape"),
        ("{\"a\":1e400}".into(), "out of range"),
        ("\u{feff}{}".into(), "a JSON object"),
    ];
    for (text, reason) in cases {
        let flaw = read(&text).expect_err(&text[..text.len().min(40)]);
        assert!(flaw.contains(reason) && !flaw.contains("geheim"), "{flaw}");
    }
    assert!(document(b"{\"a\":\"\xff\"}").is_err_and(|flaw| flaw.message.contains("unicode")));
    assert!(read("{\"a\":{\"$oid\":\"507f1f77bcf86cd799439011\",\"b\":1}}").is_err());
}
