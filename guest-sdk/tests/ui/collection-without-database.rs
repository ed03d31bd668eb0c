use wasmill_sdk::prelude::*;

#[transform(topics = ["in"], mongodb = ["orders"])]
//~                                     ^ name the database as well: `db.orders`
pub fn f(_: &Record, _: &mut Outputs) -> Result<()> {
    skip("x")
}
