//! How long to wait before an attempt is repeated: exponential with full jitter, so that hosts that lost the same server
//! do not come back together. Pure; sleeping and counting are the caller's.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Upper bound of the first wait.
const FIRST: Duration = Duration::from_millis(100);
/// Upper bound of every wait.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait before repetition `attempt` (0 is the first), between nothing and a bound that doubles from 100 ms to 30 s.
/// `random` is any evenly distributed number.
pub fn delay(attempt: u32, random: u64) -> Duration {
    let bound = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
    let part = (u128::from(random) * bound.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(part).expect("less than the bound of 30 s"))
}

/// The wait after failure number `failures` (1 is the first) with a number of its own.
pub fn next(failures: u32) -> Duration {
    delay(failures.saturating_sub(1), random())
}

/// A number for [`delay`] that differs with every call and process.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_stays_below_its_bound(attempt in any::<u32>(), random in any::<u64>()) {
            let bound = FIRST * 2u32.pow(attempt.min(9));
            prop_assert!(delay(attempt, random) < bound.min(LONGEST));
        }

        #[test]
        fn a_larger_number_waits_no_shorter(attempt in any::<u32>(), a in any::<u64>(), b in any::<u64>()) {
            prop_assert!(delay(attempt, a.min(b)) <= delay(attempt, a.max(b)));
        }
    }

    #[test]
    fn bounds_double_from_100_ms_to_30_s() {
        let bounds: Vec<u128> = (0..11).map(|attempt| delay(attempt, u64::MAX).as_millis() + 1).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
    }

    #[test]
    fn two_calls_give_two_numbers() {
        assert_ne!(random(), random());
    }
}
