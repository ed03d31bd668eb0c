//! `#[derive(Table)]`: one constant with the table's columns. The row itself is written by `Serialize`, so names
//! follow serde's attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::ParseStream;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Token, bracketed, spanned::Spanned};

use crate::types::{self, Override};

/// The container's `#[table(…)]`.
#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    serial: Option<LitStr>,
    key: Vec<LitStr>,
}

/// What serde's attributes mean for a column.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    skip: bool,
    /// The field may be left out of the row, so the column needs a default or NULL.
    optional: bool,
}

struct Column {
    name: String,
    ty: String,
    nullable: bool,
}

pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let options = container(&input)?;
    let Some(name) = &options.name else {
        return Err(Error::new(input.ident.span(), "name the table: #[table(name = \"…\")]"));
    };
    let rename_all = rename_all(&input)?;
    let mut columns = Vec::new();
    for field in fields(&input)? {
        let Some(column) = column(field, rename_all.as_deref())? else { continue };
        if columns.iter().any(|other: &Column| other.name == column.name) {
            return Err(Error::new(field.span(), format!("there are two columns `{}`", column.name)));
        }
        columns.push(column);
    }
    check_key(&options, &columns)?;
    let columns = columns.iter().map(
        |Column { name, ty, nullable }| quote!(::wasmill_sdk::Column { name: #name, ty: #ty, nullable: #nullable }),
    );
    let serial = options.serial.as_ref().map_or_else(|| quote!(None), |serial| quote!(Some(#serial)));
    let (ident, key) = (&input.ident, &options.key);
    let (implementation, types, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #implementation ::wasmill_sdk::Table for #ident #types #bounds {
            const TABLE: ::wasmill_sdk::TableSpec = ::wasmill_sdk::TableSpec {
                name: #name,
                columns: &[#(#columns),*],
                key: &[#(#key),*],
                serial: #serial,
            };
        }
    })
}

fn container(input: &DeriveInput) -> syn::Result<Options> {
    let mut options = Options::default();
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("table")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("serial") {
                options.serial = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("key") {
                options.key = key(meta.value()?)?;
            } else {
                return Err(meta.error("expected `name`, `serial` or `key`"));
            }
            Ok(())
        })?;
    }
    match &options.name {
        Some(name) if name.value().is_empty() || name.value().contains(['*', ':']) => {
            Err(Error::new(name.span(), "a table's name is `table` or `schema.table`"))
        }
        _ => Ok(options),
    }
}

fn key(value: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    if value.peek(LitStr) {
        return Ok(vec![value.parse()?]);
    }
    let list;
    bracketed!(list in value);
    Ok(list.parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])?.into_iter().collect())
}

fn fields(input: &DeriveInput) -> syn::Result<impl Iterator<Item = &Field>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter()),
            other => Err(Error::new(other.span(), "a row needs named fields: they are its columns")),
        },
        _ => Err(Error::new(input.ident.span(), "a row is a struct: its fields are the columns")),
    }
}

fn column(field: &Field, rename_all: Option<&str>) -> syn::Result<Option<Column>> {
    let serde = serde(field)?;
    if serde.skip {
        return Ok(None);
    }
    let said = types::parse_override(field)?;
    let (ty, nullable) = types::column_type(&field.ty, &said)?;
    let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    let ident = ident.trim_start_matches("r#");
    let name = serde.rename.unwrap_or_else(|| rename_all.map_or_else(|| ident.to_owned(), |rule| renamed(ident, rule)));
    let Override { nullable: said, .. } = said;
    Ok(Some(Column { name, ty, nullable: said.unwrap_or(nullable || serde.optional) }))
}

fn check_key(options: &Options, columns: &[Column]) -> syn::Result<()> {
    let known = |name: &str| columns.iter().any(|column| column.name == name);
    if columns.is_empty() {
        return Err(Error::new(options.name.span(), "a table needs a column: the row has no fields"));
    }
    for key in &options.key {
        let text = key.value();
        if !known(&text) {
            return Err(Error::new(key.span(), format!("`{text}` is not a column of this row")));
        }
    }
    match &options.serial {
        Some(serial) if known(&serial.value()) => {
            Err(Error::new(serial.span(), "the database numbers this column: leave the field out of the row"))
        }
        _ => Ok(()),
    }
}

fn rename_all(input: &DeriveInput) -> syn::Result<Option<String>> {
    let mut rule = None;
    each_serde(&input.attrs, |meta| {
        if meta.path.is_ident("rename_all") {
            rule = rename(&meta)?;
        } else {
            skip_value(&meta)?;
        }
        Ok(())
    })?;
    Ok(rule)
}

fn serde(field: &Field) -> syn::Result<Serde> {
    let mut serde = Serde::default();
    each_serde(&field.attrs, |meta| {
        if meta.path.is_ident("rename") {
            serde.rename = rename(&meta)?;
        } else if meta.path.is_ident("flatten") {
            return Err(meta.error("a flattened field has no columns of its own: write its fields out in the row"));
        } else {
            serde.skip |= meta.path.is_ident("skip") || meta.path.is_ident("skip_serializing");
            serde.optional |= meta.path.is_ident("skip_serializing_if");
            skip_value(&meta)?;
        }
        Ok(())
    })?;
    Ok(serde)
}

fn each_serde(
    attributes: &[syn::Attribute],
    mut each: impl FnMut(syn::meta::ParseNestedMeta<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    let of_serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    of_serde.into_iter().try_for_each(|attribute| attribute.parse_nested_meta(&mut each))
}

/// The name for serialisation: `rename = "x"` or `rename(serialize = "x", deserialize = "y")`.
fn rename(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return Ok(Some(meta.value()?.parse::<LitStr>()?.value()));
    }
    let mut name = None;
    meta.parse_nested_meta(|inner| {
        let value = inner.value()?.parse::<LitStr>()?.value();
        if inner.path.is_ident("serialize") {
            name = Some(value);
        }
        Ok(())
    })?;
    Ok(name)
}

/// Steps over the value of an attribute that means nothing for columns.
fn skip_value(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inner;
        syn::parenthesized!(inner in meta.input);
        inner.parse::<TokenStream>()?;
    }
    Ok(())
}

/// serde's rules for the names of fields.
fn renamed(field: &str, rule: &str) -> String {
    let pascal = || field.split('_').map(capitalised).collect::<String>();
    match rule {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => field.to_ascii_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let name = pascal();
            name[..1].to_ascii_lowercase() + &name[1..]
        }
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => field.replace('_', "-").to_ascii_uppercase(),
        _ => field.to_owned(),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}
