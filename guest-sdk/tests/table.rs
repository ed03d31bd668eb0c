//! Column types as `wit/frame.md` lists them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "shop.every", serial = "nr", key = ["string", "i64"])]
#[serde(rename_all = "camelCase")]
struct Every<'a> {
    string: String,
    str: &'a str,
    cow: Cow<'a, str>,
    char: char,
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    u128: u128,
    f32: f32,
    f64: f64,
    bool: bool,
    bytes: Bytes<'a>,
    value: Value,
    map: BTreeMap<String, i64>,
    raw: &'a RawValue,
    optional: Option<Cow<'a, str>>,
    list: Vec<String>,
    slice: &'a [Option<i64>],
    optional_list: Option<Vec<f64>>,
    boxed: Box<i32>,
    #[table(varchar = 500)]
    varchar: &'a str,
    #[table(uuid)]
    uuids: Vec<String>,
    #[table(timestamptz)]
    at: Option<&'a str>,
    #[table(numeric)]
    exact: &'a RawValue,
    #[table(ty = "numeric(20, 4)")]
    money: String,
    #[table(double)]
    double: i64,
    #[table(jsonb)]
    tags: Vec<String>,
    #[table(nullable)]
    loose: i64,
    #[serde(rename = "Renamed")]
    other: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<i64>,
    #[serde(skip)]
    #[allow(dead_code, reason = "not a column")]
    skipped: i64,
}

const EXPECTED: &str = "
string text, str text, cow text, char text, i8 smallint, i16 smallint, i32 integer, i64 bigint, u8 integer, u16 integer,
u32 bigint, u64 numeric, u128 numeric, f32 real, f64 double precision, bool boolean, bytes bytea, value jsonb, map jsonb,
raw jsonb, optional text null, list text[], slice bigint[], optionalList double precision[] null, boxed integer,
varchar varchar(500), uuids uuid[], at timestamptz null, exact numeric, money numeric(20; 4), double double precision,
tags jsonb, loose bigint null, Renamed bigint, absent bigint null";

#[test]
fn each_rust_type_has_its_column_type() {
    let columns = Every::TABLE.columns.iter().map(|column| {
        let null = if column.nullable { " null" } else { "" };
        format!("{} {}{null}", column.name, column.ty.replace(',', ";"))
    });
    let expected: Vec<String> = EXPECTED.replace('\n', " ").split(',').map(|column| column.trim().to_owned()).collect();
    assert_eq!(columns.collect::<Vec<_>>(), expected);
    assert_eq!(
        (Every::TABLE.name, Every::TABLE.serial, Every::TABLE.key),
        ("shop.every", Some("nr"), &["string", "i64"][..])
    );
}

#[test]
fn the_json_of_a_row_has_the_columns_names() {
    let raw: Box<RawValue> = serde_json::from_str("12345678901234567890.10").expect("a number");
    let map = BTreeMap::new();
    let row = Every {
        string: "s".into(),
        str: "s",
        cow: "s".into(),
        char: 'c',
        i8: 1,
        i16: 1,
        i32: 1,
        i64: 1,
        u8: 1,
        u16: 1,
        u32: 1,
        u64: u64::MAX,
        u128: u128::MAX,
        f32: 1.0,
        f64: 1.0,
        bool: true,
        bytes: Bytes::from(b"\0\x7f"),
        value: json!([1]),
        map,
        raw: &raw,
        optional: None,
        list: vec![],
        slice: &[None],
        optional_list: None,
        boxed: Box::new(1),
        varchar: "",
        uuids: vec![],
        at: None,
        exact: &raw,
        money: "1.50".into(),
        double: 1,
        tags: vec![],
        loose: 1,
        other: 1,
        absent: None,
        skipped: 1,
    };
    let text = serde_json::to_string(&row).expect("a row");
    assert!(text.contains(r#""exact":12345678901234567890.10,"money":"1.50""#), "{text}");
    assert!(
        text.contains(r#""u128":340282366920938463463374607431768211455"#) && text.contains(r#""bytes":"\\x007f""#),
        "{text}"
    );
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(&text).expect("an object");
    let missing: Vec<_> = Every::TABLE.columns.iter().filter(|column| !object.contains_key(column.name)).collect();
    assert_eq!(missing.iter().map(|column| column.name).collect::<Vec<_>>(), ["absent"], "left out where None");
    assert_eq!(object.len(), Every::TABLE.columns.len() - 1);
}
