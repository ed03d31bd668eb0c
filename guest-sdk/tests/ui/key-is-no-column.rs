use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "rows", key = ["id", "shop"])]
//~                                 ^ `shop` is not a column of this row
pub struct Row {
    id: i64,
}
