use wasmill_sdk::prelude::*;

pub struct Plain;

#[transform(topics = ["in"], postgres = [Plain])]
//~                                      ^ `Plain` is not a row type
pub fn f(_: &Record, _: &mut Outputs) -> Result<()> {
    skip("x")
}
