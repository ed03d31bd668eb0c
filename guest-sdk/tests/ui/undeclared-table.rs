use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "rows")]
struct Row { id: i64 }

#[transform(topics = ["in"])]
pub fn f(record: &Record, out: &mut Outputs) -> Result<()> {
    out.postgres(&Row { id: record.offset() })
    //~ ^ add `postgres = [YourRow]` to #[transform(…)]
}
