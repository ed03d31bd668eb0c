//! What the SQL sinks share: names, types, and the way from a row's JSON to the columns of a statement. Nothing here
//! knows a server or builds a statement.

pub mod bisect;
pub mod column;
pub mod history;
pub mod letters;
pub mod names;
pub mod plan;
pub mod protocol;
pub mod row;
pub mod runs;
pub mod second_look;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod types;
pub mod value;
