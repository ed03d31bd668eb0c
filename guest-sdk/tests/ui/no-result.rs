use wasmill_sdk::prelude::*;

#[transform(topics = ["in"])]
pub fn f(_: &Record, _: &mut Outputs) {}
//~    ^ the result is missing
