use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
pub struct Row {
//~        ^ name the table: #[table(name = "…")]
    id: i64,
}
