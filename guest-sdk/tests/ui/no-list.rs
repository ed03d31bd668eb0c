use wasmill_sdk::prelude::*;

#[transform(topics = "in")]
//~                  ^ `topics` takes a list: write `topics = ["…"]`
pub fn f(_: &Record, _: &mut Outputs) -> Result<()> {
    skip("x")
}
