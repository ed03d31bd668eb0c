//! Column types as modules and people declare them, in the words that PostgreSQL's catalogue uses. Knows which
//! declared types a table's own type can hold; knows nothing of values.

use std::fmt;

/// A column type such as `character varying(500)`, `numeric(10,2)` or `text[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// The catalogue's name without length: `character varying`; a type that is not built in as it was written.
    pub base: String,
    /// What stands in parentheses.
    pub args: Vec<u32>,
    pub array: bool,
    /// Whether `base` is one of the types in [`ALIASES`].
    known: bool,
}

/// How JSON values become the text of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string is its own text, everything else as it stands in the JSON.
    Plain,
    Json,
    Jsonb,
    Bytea,
    /// As `Bytea`, but checked here: SQLite makes NULL of hexadecimal digits that are wrong.
    Blob,
    /// As `Plain`, but checked here: SQLite makes a number of any text.
    Integer,
    /// An array of any of the others.
    Array(Element),
}

impl Kind {
    /// What the text of a column had to be where it is not; whatever the server checks is fine.
    pub fn wanted(self, text: &[u8]) -> Option<&'static str> {
        match self {
            Kind::Integer if !is_whole(text) => Some("a whole number of 64 bits"),
            Kind::Blob if !is_hex(text) => Some("in hexadecimal digits, two per byte, after \\x"),
            _ => None,
        }
    }
}

/// Whether SQLite makes exactly this number of the text. `1.0` and `1e3` are whole as well.
fn is_whole(text: &[u8]) -> bool {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let Ok(text) = std::str::from_utf8(text.trim_ascii()) else { return false };
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < BEYOND;
    text.parse::<i64>().is_ok() || text.parse().is_ok_and(whole)
}

/// Whether a text that says that it is hexadecimal is; any other stands for its own bytes.
fn is_hex(text: &[u8]) -> bool {
    let [b'\\', b'x' | b'X', digits @ ..] = text else { return true };
    digits.len() % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// What an array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Plain,
    Json,
    Jsonb,
}

/// Spellings and the catalogue's name.
const ALIASES: &[(&str, &str)] = &[
    ("text", "text"),
    ("varchar", "character varying"),
    ("character varying", "character varying"),
    ("char", "character"),
    ("character", "character"),
    ("bpchar", "character"),
    ("smallint", "smallint"),
    ("int2", "smallint"),
    ("integer", "integer"),
    ("int", "integer"),
    ("int4", "integer"),
    ("bigint", "bigint"),
    ("int8", "bigint"),
    ("real", "real"),
    ("float4", "real"),
    ("double precision", "double precision"),
    ("float8", "double precision"),
    ("float", "double precision"),
    ("numeric", "numeric"),
    ("decimal", "numeric"),
    ("boolean", "boolean"),
    ("bool", "boolean"),
    ("uuid", "uuid"),
    ("timestamptz", "timestamp with time zone"),
    ("timestamp with time zone", "timestamp with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamp without time zone", "timestamp without time zone"),
    ("date", "date"),
    ("time", "time without time zone"),
    ("time without time zone", "time without time zone"),
    ("timetz", "time with time zone"),
    ("time with time zone", "time with time zone"),
    ("interval", "interval"),
    ("json", "json"),
    ("jsonb", "jsonb"),
    ("bytea", "bytea"),
    ("inet", "inet"),
    ("cidr", "cidr"),
    ("macaddr", "macaddr"),
    ("xml", "xml"),
];

impl ColumnType {
    /// Reads a declared or catalogued type. Anything but a name, numbers in parentheses and `[]` is refused, so that
    /// a declaration can become part of a statement.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a column type; write it like varchar(500), bigint or text[]");
        let mut rest = text.trim();
        let mut array = false;
        while let Some(element) = rest.strip_suffix("[]") {
            (array, rest) = (true, element.trim_end());
        }
        let (mut name, mut args) = (rest.to_owned(), Vec::new());
        if let Some((before, after)) = rest.split_once('(') {
            let (inside, behind) = after.split_once(')').ok_or_else(refuse)?;
            args = inside.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().map_err(|_| refuse())?;
            // `timestamp(3) with time zone`: the length stands inside the name.
            name = format!("{} {}", before.trim_end(), behind.trim_start()).trim_end().to_owned();
        }
        let lower = name.to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let alias = ALIASES.iter().find(|(alias, _)| *alias == lower);
        match alias {
            Some((_, base)) => Ok(ColumnType { base: (*base).to_owned(), args, array, known: true }),
            None if is_type_name(&name) => Ok(ColumnType { base: name, args, array, known: false }),
            None => Err(refuse()),
        }
    }

    /// A type of the catalogue, whatever it is called.
    pub fn catalogued(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| {
            let base = text.trim_end_matches("[]");
            ColumnType { base: base.to_owned(), args: Vec::new(), array: base != text, known: false }
        })
    }

    /// For a `CREATE TABLE` or `ALTER TABLE` statement.
    pub fn sql(&self) -> String {
        if self.known {
            return self.to_string();
        }
        let quoted = self.base.split('.').map(super::names::quote).collect::<Vec<_>>().join(".");
        ColumnType { base: quoted, ..self.clone() }.to_string()
    }

    pub fn kind(&self) -> Kind {
        match (self.base.as_str(), self.array) {
            ("json", false) => Kind::Json,
            ("jsonb", false) => Kind::Jsonb,
            ("bytea", false) => Kind::Bytea,
            ("json", true) => Kind::Array(Element::Json),
            ("jsonb", true) => Kind::Array(Element::Jsonb),
            (_, true) => Kind::Array(Element::Plain),
            _ => Kind::Plain,
        }
    }

    /// Whether a column of this type can hold what is declared as `declared`. A text of unknown length may go into a
    /// limited column: rows that are too long are refused one by one.
    pub fn holds(&self, declared: &ColumnType) -> bool {
        if self.array != declared.array {
            return false;
        }
        let (own, theirs) = (self.base.as_str(), declared.base.as_str());
        match (own, theirs) {
            ("text", "text" | "character varying" | "character") => true,
            ("character varying", "text") => true,
            ("character varying", "character varying" | "character") => fits(&self.args, &declared.args),
            ("character", "character") => self.args == declared.args,
            ("integer", "smallint") | ("bigint", "smallint" | "integer") => true,
            ("double precision", "real" | "smallint" | "integer") => true,
            ("numeric", "smallint" | "integer" | "bigint") => self.args.is_empty(),
            ("numeric", "numeric") => self.args.is_empty() || self.args == declared.args || self.has_room(declared),
            ("json" | "jsonb", "json" | "jsonb") => true,
            // The precision of times is a matter of rounding, not of type.
            (own, theirs) => own.eq_ignore_ascii_case(theirs),
        }
    }

    /// Whether digits before and after the point suffice.
    fn has_room(&self, declared: &ColumnType) -> bool {
        let (&[precision, ref scale @ ..], &[theirs, ref their_scale @ ..]) = (&self.args[..], &declared.args[..])
        else {
            return false;
        };
        let scale = scale.first().copied().unwrap_or(0);
        let their_scale = their_scale.first().copied().unwrap_or(0);
        scale >= their_scale && precision.saturating_sub(scale) >= theirs.saturating_sub(their_scale)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = match &self.args[..] {
            [] => String::new(),
            args => format!("({})", args.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        };
        match self.base.split_once(' ') {
            Some((head @ ("timestamp" | "time"), tail)) => write!(f, "{head}{args} {tail}")?,
            _ => write!(f, "{}{args}", self.base)?,
        }
        if self.array { f.write_str("[]") } else { Ok(()) }
    }
}

/// Whether a limit of `own` characters suffices for `declared`; none is without limit.
fn fits(own: &[u32], declared: &[u32]) -> bool {
    match (own.first(), declared.first()) {
        (Some(own), Some(declared)) => own >= declared,
        _ => true,
    }
}

/// `name` or `schema.name` of letters, digits and `_`.
fn is_type_name(name: &str) -> bool {
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    name.split('.').count() <= 2 && name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ty(text: &str) -> ColumnType {
        ColumnType::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn every_spelling_becomes_the_catalogues() {
        for (spelling, name) in [
            ("varchar(500)", "character varying(500)"),
            ("VARCHAR ( 500 )", "character varying(500)"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("int8[]", "bigint[]"),
            ("text[][]", "text[]"),
            ("double  precision", "double precision"),
        ] {
            assert_eq!(ty(spelling).to_string(), name);
            assert_eq!(ty(name), ty(spelling), "reads its own words");
        }
        assert_eq!(ty("public.mood").sql(), "\"public\".\"mood\"");
    }

    #[test]
    fn a_declaration_cannot_smuggle_sql() {
        for text in
            ["text; drop table x", "text)--", "text default now()", "varchar(500", "a.b.c", "", "te\"xt", "int(x)"]
        {
            assert!(ColumnType::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wider_columns_hold_and_narrower_or_other_ones_do_not() {
        for (own, declared) in [
            ("text", "varchar(500)"),
            ("varchar(500)", "varchar(500)"),
            ("varchar(500)", "text"),
            ("varchar", "varchar(9)"),
            ("bigint", "integer"),
            ("numeric", "numeric(10,2)"),
            ("numeric(12,2)", "numeric(10,2)"),
            ("jsonb", "json"),
            ("text[]", "varchar(3)[]"),
            ("timestamp(3) with time zone", "timestamptz"),
        ] {
            assert!(ty(own).holds(&ty(declared)), "{own} holds {declared}");
        }
        for (own, declared) in [
            ("text", "bigint"),
            ("varchar(100)", "varchar(500)"),
            ("integer", "bigint"),
            ("numeric(10,2)", "numeric"),
            ("numeric(10,4)", "numeric(10,2)"),
            ("timestamp", "timestamptz"),
            ("text", "text[]"),
            ("text", "jsonb"),
            ("double precision", "bigint"),
        ] {
            assert!(!ty(own).holds(&ty(declared)), "{own} does not hold {declared}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(text in "[a-z0-9 (),.\\[\\];\"é-]{0,24}") {
            if let Ok(parsed) = ColumnType::parse(&text) {
                prop_assert!(!parsed.sql().contains(';'));
                if parsed.known {
                    prop_assert_eq!(ColumnType::parse(&parsed.to_string()), Ok(parsed));
                }
            }
        }
    }
}
