//! Hands on every record as it came: what a further module of a chain costs when it does nothing.

use wasmill_sdk::prelude::*;

#[transform(topics = ["bench_in"], next)]
pub fn pass(_record: &Record, out: &mut Outputs) -> Result<()> {
    out.next().unchanged()
}

#[cfg(test)]
mod tests {
    use super::pass;
    use wasmill_sdk::testing;

    #[test]
    fn one_record_becomes_one_record() {
        assert_eq!(testing::run::<pass>(testing::record().value("{")).outputs.len(), 1);
    }
}
