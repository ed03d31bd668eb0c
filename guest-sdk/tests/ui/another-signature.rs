use wasmill_sdk::prelude::*;

#[transform(topics = ["in"])]
pub fn f(record: &Record, out: &mut Vec<u8>) -> Result<()> {
//~    ^ mismatched types
    out.extend(record.value().unwrap_or_default());
    Ok(())
}
