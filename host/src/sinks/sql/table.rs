//! A table as it exists in the server, and what is declared about it by a module and the configuration.

use std::collections::HashMap;

use crate::config::{Evolve, Mode, Table as Settings};
use crate::manifest::TableSpec;

use super::names::TableName;
use super::types::{ColumnType, Kind};

/// An existing table that rows can be written to.
#[derive(Debug)]
pub struct Table {
    pub name: TableName,
    /// The name as statements use it.
    pub sql: String,
    /// The table itself, whatever it is called: the name with the schema that the server has found it in.
    pub place: TableName,
    pub columns: Vec<Column>,
    /// Indices of the key's columns; empty where there is no key.
    pub key: Vec<usize>,
    /// Columns that every inserted row is given: the declared ones without a default, so that statements stay the same
    /// whichever optional values a row has.
    pub always: Vec<usize>,
    pub mode: Mode,
    by_name: HashMap<String, usize>,
}

/// A column of an existing table.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// The type without its length: what a text is cast to. An explicit cast to `varchar(5)` would cut silently.
    pub cast: String,
    pub ty: ColumnType,
    pub kind: Kind,
    pub not_null: bool,
    /// Whether the server gives a value where none is given: a default, a serial, a generated column.
    pub has_default: bool,
}

/// What the module and the configuration say about a table; the configuration wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    pub columns: Vec<DeclaredColumn>,
    pub key: Vec<String>,
    pub serial: Option<String>,
    pub create: bool,
    pub add_columns: bool,
    pub mode: Mode,
}

/// A declared column.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredColumn {
    pub name: String,
    pub ty: ColumnType,
    pub nullable: bool,
}

impl Table {
    pub fn new(
        name: TableName,
        sql: String,
        columns: Vec<Column>,
        primary_key: &[String],
        declared: &Declared,
    ) -> Result<Self, String> {
        let by_name: HashMap<_, _> = columns.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        let keys = if declared.key.is_empty() { primary_key } else { &declared.key };
        let index = |column: &String| {
            let missing = || format!("key column `{column}` is not in table {name}; correct `key` or add the column");
            by_name.get(column).copied().ok_or_else(missing)
        };
        let key = keys.iter().map(index).collect::<Result<_, _>>()?;
        let declared_columns = declared.columns.iter().filter_map(|c| by_name.get(&c.name).copied());
        let always = declared_columns.filter(|i| !columns[*i].has_default).collect();
        let place = name.clone();
        Ok(Table { name, sql, place, columns, key, always, mode: declared.mode, by_name })
    }

    /// The table where the server has found it in a schema that its name does not tell.
    pub fn at(mut self, place: TableName) -> Self {
        self.place = place;
        self
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Checks the table against what is declared. `Ok` lists the declared columns that are missing and may be added.
    pub fn missing<'d>(&self, declared: &'d Declared) -> Result<Vec<&'d DeclaredColumn>, String> {
        let mut missing = Vec::new();
        for column in &declared.columns {
            match self.column(&column.name).map(|i| &self.columns[i]) {
                Some(own) if own.ty.holds(&column.ty) => {}
                Some(own) => return Err(self.incompatible(column, own)),
                None if !declared.add_columns => return Err(self.lacks(column, "evolve is off")),
                None if !column.nullable => return Err(self.lacks(column, "only nullable columns are added")),
                None => missing.push(column),
            }
        }
        Ok(missing)
    }

    /// Columns that every row needs and no declared row has.
    pub fn check_unfilled(&self, declared: &Declared) -> Result<(), String> {
        if declared.columns.is_empty() {
            return Ok(());
        }
        let unfilled = self.columns.iter().find(|own| {
            own.not_null && !own.has_default && declared.columns.iter().all(|column| column.name != own.name)
        });
        unfilled.map_or(Ok(()), |own| {
            Err(format!(
                "table {} requires column `{}` ({}), which the module does not declare; give the column a default or declare it",
                self.name, own.name, own.ty
            ))
        })
    }

    fn incompatible(&self, declared: &DeclaredColumn, own: &Column) -> String {
        format!(
            "column `{}` of table {} is {} but {} is declared; change the table or the declaration",
            declared.name, self.name, own.ty, declared.ty
        )
    }

    fn lacks(&self, column: &DeclaredColumn, why: &str) -> String {
        let null = if column.nullable { "" } else { " not null" };
        format!(
            "table {} lacks the declared column `{}` ({}{null}) and {why}; add the column yourself",
            self.name, column.name, column.ty
        )
    }
}

impl Declared {
    pub fn new(spec: Option<&TableSpec>, settings: Option<&Settings>) -> Result<Self, String> {
        let mut declared = Declared { create: true, add_columns: true, ..Declared::default() };
        if let Some(spec) = spec {
            for column in &spec.columns {
                let ty = ColumnType::parse(&column.ty).map_err(|e| format!("column `{}`: {e}", column.name))?;
                declared.columns.push(DeclaredColumn { name: column.name.clone(), ty, nullable: column.nullable });
            }
            declared.key.clone_from(&spec.key);
            declared.serial.clone_from(&spec.serial);
        }
        if let Some(settings) = settings {
            declared.apply(settings)?;
        }
        declared.columns.retain(|column| Some(&column.name) != declared.serial.as_ref());
        Ok(declared)
    }

    fn apply(&mut self, settings: &Settings) -> Result<(), String> {
        for (name, text) in &settings.columns {
            let column = parse_column(name, text)?;
            match self.columns.iter_mut().find(|own| own.name == *name) {
                Some(own) => *own = column,
                None => self.columns.push(column),
            }
        }
        if !settings.key.is_empty() {
            self.key.clone_from(&settings.key);
        }
        if settings.serial.is_some() {
            self.serial.clone_from(&settings.serial);
        }
        self.create = settings.create.unwrap_or(true);
        self.add_columns = settings.evolve == Evolve::AddColumns;
        self.mode = settings.mode;
        Ok(())
    }
}

/// `varchar(500) not null`.
fn parse_column(name: &str, text: &str) -> Result<DeclaredColumn, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (ty, nullable) = match lower.strip_suffix("null").map(str::trim_end) {
        Some(before) => match before.strip_suffix("not") {
            Some(before) => (&text.trim()[..before.len()], false),
            None => (&text.trim()[..before.len()], true),
        },
        None => (text, true),
    };
    let ty = ColumnType::parse(ty).map_err(|e| format!("column `{name}`: {e}"))?;
    Ok(DeclaredColumn { name: name.to_owned(), ty, nullable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Column as SpecColumn;

    fn own(name: &str, ty: &str, not_null: bool, has_default: bool) -> Column {
        let ty = ColumnType::parse(ty).expect("a type");
        Column { name: name.into(), cast: ty.base.clone(), kind: ty.kind(), ty, not_null, has_default }
    }

    fn table(columns: Vec<Column>) -> Table {
        let name = TableName::parse("quotes").expect("a name");
        Table::new(name, "\"quotes\"".into(), columns, &[], &Declared::default()).expect("no key")
    }

    fn declared(columns: &[(&str, &str, bool)]) -> Declared {
        let column = |(name, ty, nullable): &(&str, &str, bool)| SpecColumn {
            name: (*name).into(),
            ty: (*ty).into(),
            nullable: *nullable,
        };
        let spec = TableSpec { columns: columns.iter().map(column).collect(), key: vec![], serial: None };
        Declared::new(Some(&spec), None).expect("valid types")
    }

    #[test]
    fn an_incompatible_column_is_named_with_both_types() {
        let wanted = declared(&[("n", "bigint", true)]);
        let error = table(vec![own("n", "text", false, false)]).missing(&wanted).expect_err("incompatible");
        assert_eq!(
            error,
            "column `n` of table quotes is text but bigint is declared; change the table or the declaration"
        );
    }

    #[test]
    fn only_nullable_columns_are_added() {
        let table = table(vec![own("a", "text", false, false)]);
        let wanted = declared(&[("a", "varchar(9)", true), ("b", "bigint", true)]);
        let missing = table.missing(&wanted).expect("compatible");
        assert_eq!(missing.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["b"]);
        let wanted = declared(&[("c", "bigint", false)]);
        let error = table.missing(&wanted).expect_err("not null");
        assert!(error.contains("`c` (bigint not null)"), "{error}");
    }

    #[test]
    fn a_column_that_no_row_could_fill_is_named() {
        let table =
            table(vec![own("a", "text", false, false), own("b", "date", true, false), own("c", "date", true, true)]);
        let error = table.check_unfilled(&declared(&[("a", "text", true)])).expect_err("b is required");
        assert!(error.contains("`b` (date)"), "{error}");
    }

    #[test]
    fn the_configuration_overrides_the_module() {
        let settings = Settings {
            columns: [("a".into(), "bigint NOT NULL".into()), ("z".into(), "text null".into())].into(),
            key: vec!["a".into()],
            ..Settings::default()
        };
        let spec = TableSpec {
            columns: vec![SpecColumn { name: "a".into(), ty: "text".into(), nullable: true }],
            key: vec![],
            serial: Some("id".into()),
        };
        let declared = Declared::new(Some(&spec), Some(&settings)).expect("valid");
        assert_eq!((declared.columns[0].ty.to_string().as_str(), declared.columns[0].nullable), ("bigint", false));
        assert_eq!((declared.columns[1].name.as_str(), declared.columns[1].nullable), ("z", true));
        assert_eq!((declared.key, declared.serial), (vec!["a".to_owned()], Some("id".to_owned())));
    }
}
