//! The macros of wasmill-sdk: `#[transform]` and `#[derive(Table)]`. They write constants and one impl each; all
//! behaviour is in the SDK. Errors point at the author's own words.

mod attribute;
mod declared;
mod forward;
mod table;
mod types;

use proc_macro::TokenStream;

/// Makes a function the module of its crate.
///
/// ```text
/// #[transform(
///     topics = ["orders", "^logs\\..*"],          // what it reads: names, or regular expressions that begin with ^
///     postgres = [OrderRow, "audit.orders"],      // row types (#[derive(Table)]), or names of tables that exist
///     mongodb = ["shop.orders"],                  // database.collection
///     kafka = ["orders_clean", "tenant-*"],       // topics; a trailing * is completed by each output
///     lake = [OrderRow],                          // any other identifier or "text" is the name of a sink
///     next,                                       // the following module of a chain
///     examples = [r#"{"id": 1}"#, "x" => 0],      // values it promises to process, => with so many outputs
/// )]
/// fn orders(record: &Record, out: &mut Outputs) -> Result<()> { … }
/// ```
///
/// All of them may be left out. Name and version in the manifest are the package's. The order of declaration is the
/// order of the manifest's targets. A name in `out.kafka("…")`, `out.mongodb("…")` or `out.postgres_at("…")` inside
/// the function that is not declared is a compile error. There is one transform per crate.
///
/// The function stays what it is and may be called directly; a type of the same name implements `Transform`, for
/// `testing::run::<orders>(…)`.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(arguments.into(), item.into()).into()
}

/// Makes a struct a row type: a table with one column per field. Derive `Serialize` as well.
///
/// `#[table(name = "quotes")]` names the table, `serial = "quote_id"` adds a column that the database numbers,
/// `key = "id"` or `key = ["a", "b"]` names the columns that upsert, ignore, update and delete go by. A field's
/// column type follows from its Rust type, or is said: `#[table(varchar = 500)]`, `#[table(timestamptz)]` ….
#[proc_macro_derive(Table, attributes(table))]
pub fn derive_table(item: TokenStream) -> TokenStream {
    table::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// serde's `Serialize`, for crates that do not list serde among their dependencies. The attributes are serde's.
#[proc_macro_derive(Serialize, attributes(serde))]
pub fn derive_serialize(item: TokenStream) -> TokenStream {
    forward::serialize(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// serde's `Deserialize`, for crates that do not list serde among their dependencies. The attributes are serde's.
#[proc_macro_derive(Deserialize, attributes(serde))]
pub fn derive_deserialize(item: TokenStream) -> TokenStream {
    forward::deserialize(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

#[cfg(test)]
mod tests;
