use wasmill_sdk::prelude::*;

#[derive(Serialize)]
pub struct Mine;

#[derive(Serialize, Table)]
#[table(name = "rows")]
pub struct Row {
    id: i64,
    mine: Mine,
    //~   ^ the column type of `Mine` is not known
}
