use wasmill_sdk::prelude::*;

#[transform(topics = ["in"], kafka = ["out"])]
pub fn f(record: &Record, out: &mut Outputs) -> Result<()> {
    if record.is_tombstone() {
        return out.kafka("uot").tombstone();
        //~              ^ `uot` is not declared: add it to `kafka = [..]` in #[transform(…)]
    }
    out.kafka("out").unchanged()
}
