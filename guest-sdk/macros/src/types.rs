//! From a Rust type to a Postgres type. The table is also in `wit/frame.md` and at the trait `Table`.

use quote::ToTokens;
use syn::{Error, Expr, Field, GenericArgument, LitInt, LitStr, PathArguments, Type};

/// Types that a field may name: the word, and what Postgres calls it.
const NAMED: [(&str, &str); 18] = [
    ("text", "text"),
    ("smallint", "smallint"),
    ("integer", "integer"),
    ("bigint", "bigint"),
    ("real", "real"),
    ("double", "double precision"),
    ("boolean", "boolean"),
    ("numeric", "numeric"),
    ("uuid", "uuid"),
    ("date", "date"),
    ("time", "time"),
    ("timestamp", "timestamp"),
    ("timestamptz", "timestamptz"),
    ("jsonb", "jsonb"),
    ("json", "json"),
    ("bytea", "bytea"),
    ("varchar", "varchar"),
    ("inet", "inet"),
];

/// A field's `#[table(…)]`.
#[derive(Default)]
pub(crate) struct Override {
    /// The Postgres type of the value, or of an array's elements.
    ty: Option<String>,
    pub(crate) nullable: Option<bool>,
}

pub(crate) fn parse_override(field: &Field) -> syn::Result<Override> {
    let mut said = Override::default();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("table")) {
        attribute.parse_nested_meta(|meta| {
            let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match word.as_str() {
                "nullable" => said.nullable = Some(true),
                "not_null" => said.nullable = Some(false),
                "ty" => said.ty = Some(meta.value()?.parse::<LitStr>()?.value()),
                "varchar" if meta.input.peek(syn::Token![=]) => {
                    let length = meta.value()?.parse::<LitInt>()?;
                    said.ty = Some(format!("varchar({})", length.base10_parse::<u32>()?));
                }
                word => match NAMED.iter().find(|(name, _)| *name == word) {
                    Some((_, ty)) => said.ty = Some((*ty).to_owned()),
                    None => return Err(meta.error(unknown_word())),
                },
            }
            Ok(())
        })?;
    }
    Ok(said)
}

/// The column's type and whether it is nullable.
pub(crate) fn column_type(ty: &Type, said: &Override) -> syn::Result<(String, bool)> {
    let (inner, nullable) = match argument(bare(ty), &["Option"]) {
        Some(inner) => (inner, true),
        None => (ty, false),
    };
    let inner = bare(inner);
    let column = match (&said.ty, element(inner)) {
        (Some(said), Some(_)) if !said.starts_with("json") && said != "bytea" && !said.ends_with("[]") => {
            format!("{said}[]")
        }
        (Some(said), _) => said.clone(),
        (None, Some(element)) => {
            let element = argument(bare(element), &["Option"]).unwrap_or(element);
            if is_byte(bare(element)) {
                return Err(error(ty, "bytes have a type of their own: use `Bytes` for bytea"));
            }
            format!("{}[]", scalar(bare(element)).ok_or_else(|| unknown(element))?)
        }
        (None, None) => scalar(inner).ok_or_else(|| unknown(inner))?.to_owned(),
    };
    Ok((column, nullable))
}

fn scalar(ty: &Type) -> Option<&'static str> {
    Some(match last(ty)?.ident.to_string().as_str() {
        "String" | "str" | "char" => "text",
        "i8" | "i16" => "smallint",
        "i32" | "u8" | "u16" => "integer",
        "i64" | "u32" | "isize" => "bigint",
        "u64" | "usize" | "i128" | "u128" | "Decimal" | "BigDecimal" => "numeric",
        "f32" => "real",
        "f64" => "double precision",
        "bool" => "boolean",
        "Bytes" => "bytea",
        "Uuid" => "uuid",
        "Value" | "Map" | "RawValue" | "HashMap" | "BTreeMap" => "jsonb",
        _ => return None,
    })
}

/// The type behind references, boxes and cows.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => bare(&reference.elem),
        Type::Paren(paren) => bare(&paren.elem),
        Type::Group(group) => bare(&group.elem),
        _ => argument(ty, &["Box", "Rc", "Arc", "Cow"]).map_or(ty, bare),
    }
}

/// The type of the elements where it is an array.
fn element(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Slice(slice) => Some(&slice.elem),
        Type::Array(array) if !matches!(&array.len, Expr::Verbatim(_)) => Some(&array.elem),
        _ => argument(ty, &["Vec", "VecDeque", "BTreeSet", "HashSet"]),
    }
}

/// The type argument of a generic type with one of these names.
fn argument<'t>(ty: &'t Type, names: &[&str]) -> Option<&'t Type> {
    let segment = last(ty)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    if !names.iter().any(|name| segment.ident == name) {
        return None;
    }
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn last(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn is_byte(ty: &Type) -> bool {
    last(ty).is_some_and(|segment| segment.ident == "u8")
}

fn unknown(ty: &Type) -> Error {
    let name = ty.to_token_stream().to_string();
    error(ty, &format!("the column type of `{name}` is not known: say it, as in #[table(text)] or #[table(jsonb)]"))
}

fn error(ty: &Type, message: &str) -> Error {
    Error::new_spanned(ty, message)
}

fn unknown_word() -> String {
    let words: Vec<&str> = NAMED.iter().map(|(word, _)| *word).collect();
    format!("expected a column type ({}, or ty = \"…\"), `nullable` or `not_null`", words.join(", "))
}
