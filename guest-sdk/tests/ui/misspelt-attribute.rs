use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "rows")]
pub struct Row {
    #[table(varchr = 80)]
    //~     ^ expected
    name: String,
}
