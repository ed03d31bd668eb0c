use wasmill_sdk::prelude::*;

#[transform(topics = ["in"])]
pub struct F;
//~ <- #[transform] goes on a function
