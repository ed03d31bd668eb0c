//! The prelude's derives do what serde's do, with whatever attributes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wasmill_sdk::prelude::*;
use wasmill_sdk::testing::record;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Outer<'a, T> {
    #[serde(borrow)]
    some_text: Cow<'a, str>,
    plain: &'a str,
    inner: Option<T>,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    shapes: Vec<Shape>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Large,
    #[serde(other)]
    Other,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "shape")]
enum Shape {
    Circle { r: f64 },
    Point,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Text(String),
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Wrapper(i64);

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Rest {
    a: Wrapper,
    b: Either,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[test]
fn values_go_there_and_back() {
    let text = r#"{"someText":"a\nb","plain":"p","inner":{"a":1,"b":"x","c":[1]},"type":"large","shapes":[{"shape":"Circle","r":1.5},{"shape":"Point"}]}"#;
    let test = record().value(text);
    let outer: Outer<'_, Rest> = test.as_record().json().expect("it fits");
    assert!(matches!(outer.some_text, Cow::Owned(_)), "an escape has to be copied");
    assert_eq!(outer.inner.as_ref().map(|inner| (&inner.a, &inner.b)), Some((&Wrapper(1), &Either::Text("x".into()))));
    assert_eq!(serde_json::to_string(&outer).expect("it serialises"), text);
}

#[test]
fn nothing_is_copied_that_can_be_borrowed() {
    let test = record().value(r#"{"someText":"ab","plain":"p","type":"unheard of"}"#);
    let outer: Outer<'_, i64> = test.as_record().json().expect("it fits");
    assert!(matches!(outer.some_text, Cow::Borrowed("ab")));
    assert_eq!((outer.kind, outer.inner), (Kind::Other, None));
}

#[test]
fn errors_name_the_authors_type() {
    let error = |value: &str| {
        record().value(value).as_record().json::<Outer<'_, i64>>().map(drop).expect_err("it does not fit")
    };
    assert_eq!(error("3").message(), "invalid type: integer, expected struct Outer at line 1 column 1");
    assert!(error(r#"{"more":1}"#).message().starts_with("unknown field `more`"));
    assert!(error("{}").message().starts_with("missing field `someText`"));
}
