//! Names of tables and columns, quoted for SQL. Every identifier in a statement goes through [`quote`]; values never
//! come here, they are bound.

use std::fmt;

/// Schema (and catalog words) that no output may be written to: the host's own progress and the server's tables.
const OWN_SCHEMA: &str = "wasmill";
/// PostgreSQL cuts longer identifiers silently, and two of them could become one.
const LONGEST: usize = 63;

/// A table as users write it: `quotes` or `schema.quotes`, exactly as given, case included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    pub schema: Option<String>,
    pub table: String,
}

impl TableName {
    /// Splits at the first dot. Refuses names that no server could hold.
    pub fn parse(name: &str) -> Result<Self, String> {
        let (schema, table) = match name.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, name),
        };
        for part in schema.into_iter().chain([table]) {
            if part.is_empty() || part.contains('\0') || part.len() > LONGEST {
                let short: String = name.chars().take(80).collect();
                return Err(format!(
                    "table name {short:?} is not usable; write `table` or `schema.table`, each at most {LONGEST} bytes"
                ));
            }
        }
        Ok(TableName { schema: schema.map(str::to_owned), table: table.to_owned() })
    }

    /// Whether the table belongs to the host or the server itself.
    pub fn is_reserved(&self) -> bool {
        self.schema.as_deref().is_some_and(is_reserved_schema)
    }

    /// Quoted, for a statement.
    pub fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.table)),
            None => quote(&self.table),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// Whether a schema is out of bounds for outputs.
pub fn is_reserved_schema(schema: &str) -> bool {
    schema == OWN_SCHEMA || schema == "information_schema" || schema.starts_with("pg_")
}

/// An identifier in double quotes, as PostgreSQL and SQLite read it.
pub fn quote(identifier: &str) -> String {
    let mut quoted = String::with_capacity(identifier.len() + 2);
    quoted.push('"');
    for part in identifier.split_inclusive('"') {
        quoted.push_str(part);
        if part.ends_with('"') {
            quoted.push('"');
        }
    }
    quoted.push('"');
    quoted
}

/// Identifiers, quoted and joined by `, `.
pub fn quote_all<'a>(identifiers: impl IntoIterator<Item = &'a str>) -> String {
    identifiers.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one quoted identifier; what follows it is returned as well.
    fn unquote(sql: &str) -> Option<(String, &str)> {
        let mut name = String::new();
        let mut rest = sql.strip_prefix('"')?;
        loop {
            let at = rest.find('"')?;
            name.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.strip_prefix('"') {
                Some(more) => (name.push('"'), rest = more).1,
                None => return Some((name, rest)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_reads_back_and_ends_where_it_should(name in "[\"a-z.; é]{0,12}") {
            let sql = format!("{}; rest", quote(&name));
            prop_assert_eq!(unquote(&sql), Some((name, "; rest")));
        }
    }

    #[test]
    fn a_table_name_has_at_most_a_schema() {
        let name = TableName::parse("we\"ird.select").expect("valid");
        assert_eq!(name.sql(), "\"we\"\"ird\".\"select\"");
        assert_eq!(name.to_string(), "we\"ird.select");
        assert_eq!(TableName::parse("quotes").expect("valid").sql(), "\"quotes\"");
        for bad in ["", ".", "a.", ".b", "a\0b"] {
            assert!(TableName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_hosts_own_tables_are_out_of_bounds() {
        for reserved in ["wasmill.progress", "pg_catalog.pg_class", "information_schema.tables"] {
            assert!(TableName::parse(reserved).expect("valid").is_reserved(), "{reserved}");
        }
        assert!(!TableName::parse("wasmill").expect("valid").is_reserved());
    }
}
