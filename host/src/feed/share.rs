//! Numbers from a seed: the same seed gives the same records, from any place on, on any machine. And shares of records,
//! as users write them.

/// Evenly distributed numbers that belong to one record.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of record `number` under `seed`.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut random = Random(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.number();
        random
    }

    /// The next one (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Whether this record belongs to the share.
    pub fn hits(&mut self, share: f64) -> bool {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64 <= share && share > 0.0
    }
}

/// A share: `0.02` or `2%`.
pub fn parse(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "write a share such as 0.02 or 2%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_met_and_its_ends_are_exact() {
        let hits = |share| (0..10_000).filter(|n| Random::of(7, *n).hits(share)).count();
        assert_eq!((hits(0.0), hits(1.0)), (0, 10_000));
        assert!((150..250).contains(&hits(0.02)), "{}", hits(0.02));
    }

    #[test]
    fn shares_are_read_as_people_write_them() {
        assert_eq!((parse("2%"), parse("0.5"), parse("1")), (Ok(0.02), Ok(0.5), Ok(1.0)));
        for wrong in ["", "%", "101%", "-1", "NaN", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
