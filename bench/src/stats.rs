//! Sums over runs: medians, percentiles, and the rule by which a run of the native program is void. Pure.

/// Records per second of a program that only reads, on the machine on which the limits were measured.
const CONSUME_ONLY: f64 = 1_280_000.0;
/// How far below that machine's ratio a native program may stay before its run says nothing.
const TOLERANCE: f64 = 0.9;

/// The middle one, or the mean of the two in the middle; NaN of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The smallest value that at least `percent` of all do not exceed; NaN of nothing.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// What the native program must reach as a share of reading only, where it once reached `known` records per second.
pub(crate) fn least_share(known: f64) -> f64 {
    TOLERANCE * known / CONSUME_ONLY
}

/// Whether the native program's rate says too little to compare with.
pub(crate) fn is_void(native: f64, consume_only: f64, known: f64) -> bool {
    let share = native / consume_only;
    share.is_nan() || share < least_share(known)
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred = || (1..=100).rev().map(f64::from);
        assert_eq!((percentile(hundred(), 50.0), percentile(hundred(), 99.0)), (50.0, 99.0));
        assert_eq!((percentile(hundred(), 100.0), percentile(hundred(), 0.0)), (100.0, 1.0));
        assert_eq!(percentile([7.0], 99.0), 7.0);
        assert!(percentile([], 50.0).is_nan());
    }

    #[test]
    fn a_native_run_is_void_below_nine_tenths_of_the_known_ratio() {
        let known = 640_000.0;
        assert_eq!(least_share(known), 0.45);
        assert!(!is_void(450_000.0, 1_000_000.0, known));
        assert!(is_void(449_000.0, 1_000_000.0, known));
        assert!(is_void(f64::NAN, 1_000_000.0, known) && is_void(1.0, f64::NAN, known));
    }
}
