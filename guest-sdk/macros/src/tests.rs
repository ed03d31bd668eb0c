//! What authors are told. The place of a message is checked by the text that its tokens stand for.

use proc_macro2::{TokenStream, TokenTree};

const FN: &str = "fn f(record: &Record, out: &mut Outputs) -> Result<()>";

fn parse(text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The message of the first `compile_error!`, or the expansion without one.
fn message(expanded: TokenStream) -> Option<String> {
    let tokens: Vec<TokenTree> = expanded.into_iter().collect();
    let at = tokens.iter().position(|token| matches!(token, TokenTree::Ident(ident) if ident == "compile_error"))?;
    let Some(TokenTree::Group(group)) = tokens.get(at + 2) else { return None };
    syn::parse2::<syn::LitStr>(group.stream()).ok().map(|text| text.value())
}

fn transform(arguments: &str, body: &str) -> Option<String> {
    message(crate::attribute::expand(parse(arguments), parse(&format!("{FN} {{ {body} }}"))))
}

fn table(item: &str) -> Option<String> {
    crate::table::expand(parse(item)).err().map(|error| error.to_string())
}

#[test]
fn declared_names_compile() {
    let arguments = r#"topics = ["a", "^b.*"], postgres = [Row, a::Other<'static>, "schema.t"], mongodb = ["db.c"],
        kafka = ["t", "tenant-*"], lake = [Row], "my-lake" = ["x"], next, examples = ["1", "2" => 0],"#;
    let body = r#"out.kafka("t").json(&1)?; out.kafka("tenant-a"); out.kafka(&name); out.mongodb("db.c"); out.next();
        vec![out.kafka("kafka:t")]; other.kafka("elsewhere"); out.kafka("a:b")"#;
    let message = transform(arguments, body).expect("one name is not declared");
    assert_eq!(message, "`b` is not declared: add it to `a = [..]` in #[transform(…)]");
    assert_eq!(transform(arguments, &body.replace("a:b", "t")), None);
}

#[test]
fn an_undeclared_literal_is_named_wherever_it_stands() {
    let expected = Some("`x` is not declared: add it to `kafka = [..]` in #[transform(…)]".to_owned());
    for body in [r#"out.kafka("x").json(&1)"#, r#"if a { vec![f(|| out.kafka("x"))] }"#, r#"out . kafka ( "kafka:x" )"#]
    {
        assert_eq!(transform(r#"kafka = ["t", "y*"], mongodb = ["x.x"]"#, body), expected, "{body}");
    }
    let expected = "there is no following module: add `next` to #[transform(…)]";
    assert_eq!(transform("", "out.next()").as_deref(), Some(expected));
    assert!(
        transform(r#"kafka = ["t"]"#, "out.postgres(&row)").is_some_and(|text| text.contains("postgres = [YourRow]"))
    );
}

#[test]
fn odd_arguments_say_what_to_write() {
    for (arguments, expected) in [
        ("topics", "what of `topics`? write `topics = [\"…\"]`"),
        (r#"topics = "a""#, "`topics` takes a list: write `topics = [\"…\"]`"),
        (r#"topic = ["a"]"#, "write `topics = [..]`"),
        (
            r#"topics = ["a b"]"#,
            "a topic's name consists of letters, digits, `.`, `_` and `-`; a regular expression begins with `^`",
        ),
        (r#"topics = ["a.dlq"]"#, "dead letters and Kafka's own topics are not read by flows"),
        (r#"kafka = ["a*b"]"#, "`*` may only stand at the end of a name"),
        (r#"kafka = [""]"#, "a name must not be empty"),
        (r#"kafka = [Row]"#, "a topic is named by a text such as \"quotes_clean\""),
        (r#"mongodb = ["c"]"#, "name the database as well: `db.c`"),
        (r#"kafka = ["a", "a"]"#, "`a` is declared twice for `kafka`"),
        (r#"kafka = ["a"], kafka = ["b"]"#, "`kafka` is given twice: put both into one list"),
        ("next = []", "`next` stands alone: it is the following module of the chain"),
    ] {
        assert_eq!(transform(arguments, "").as_deref(), Some(expected), "{arguments}");
    }
}

#[test]
fn what_is_not_a_transform_is_told_the_signature() {
    for item in [
        "struct A;",
        "fn f() -> Result<()> {}",
        "async fn f(r: &Record, o: &mut Outputs) -> Result<()> {}",
        "fn f(r: &Record, o: &mut Outputs) {}",
    ] {
        let message = message(crate::attribute::expand(TokenStream::new(), parse(item))).expect("an error");
        assert!(message.contains("fn name(record: &Record, out: &mut Outputs) -> Result<()>"), "{message}");
    }
}

#[test]
fn rows_say_what_is_missing() {
    for (item, expected) in [
        ("struct A { a: i64 }", "name the table: #[table(name = \"…\")]"),
        (r#"#[table(name = "t")] enum A { B }"#, "a row is a struct: its fields are the columns"),
        (r#"#[table(name = "t")] struct A {}"#, "a table needs a column: the row has no fields"),
        (
            r#"#[table(name = "t")] struct A { a: Mine }"#,
            "the column type of `Mine` is not known: say it, as in #[table(text)] or #[table(jsonb)]",
        ),
        (r#"#[table(name = "t")] struct A { a: Vec<u8> }"#, "bytes have a type of their own: use `Bytes` for bytea"),
        (r#"#[table(name = "t", key = ["b"])] struct A { a: i64 }"#, "`b` is not a column of this row"),
        (
            r#"#[table(name = "t", serial = "a")] struct A { a: i64 }"#,
            "the database numbers this column: leave the field out of the row",
        ),
        (
            r#"#[table(name = "t")] struct A { #[serde(flatten)] a: B }"#,
            "a flattened field has no columns of its own: write its fields out in the row",
        ),
        (r#"#[table(name = "t")] struct A { a: i64, #[serde(rename = "a")] b: i64 }"#, "there are two columns `a`"),
        (r#"#[table(nam = "t")] struct A { a: i64 }"#, "expected `name`, `serial` or `key`"),
    ] {
        assert_eq!(table(item).as_deref(), Some(expected), "{item}");
    }
    assert!(
        table(r#"#[table(name = "t")] struct A { #[table(txt)] a: i64 }"#)
            .is_some_and(|m| m.contains("column type (text"))
    );
}
