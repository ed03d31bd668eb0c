//! Which rows of a statement the server refuses, found by halving. Pure: the caller tries each range and reports.

use std::ops::Range;

/// The ranges still to be tried, the first on top. A refused range of more than one row is tried in halves.
#[derive(Debug)]
pub struct Bisect {
    left: Vec<Range<usize>>,
}

impl Bisect {
    pub fn new(rows: usize) -> Self {
        let whole = 0..rows;
        Bisect { left: if whole.is_empty() { Vec::new() } else { vec![whole] } }
    }

    /// The next range to try: ranges come in the order of the rows, so that what is written stays in order.
    pub fn pop(&mut self) -> Option<Range<usize>> {
        self.left.pop()
    }

    /// Reports that the range was refused. Returns the row where it was the only one, which is then settled.
    pub fn refused(&mut self, range: Range<usize>) -> Option<usize> {
        if range.len() == 1 {
            return Some(range.start);
        }
        let middle = range.start + range.len() / 2;
        self.left.push(middle..range.end);
        self.left.push(range.start..middle);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bisects rows of which `bad` are refused; returns written rows, refused rows and the number of attempts.
    fn run(bad: &[bool]) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut written, mut refused, mut attempts) = (vec![], vec![], 0);
        let mut bisect = Bisect::new(bad.len());
        while let Some(range) = bisect.pop() {
            attempts += 1;
            if range.clone().any(|row| bad[row]) {
                refused.extend(bisect.refused(range));
            } else {
                written.extend(range);
            }
        }
        (written, refused, attempts)
    }

    proptest! {
        #[test]
        fn exactly_the_bad_rows_are_refused_and_order_is_kept(bad in proptest::collection::vec(proptest::bool::weighted(0.1), 0..300)) {
            let (written, refused, _) = run(&bad);
            prop_assert_eq!(written, (0..bad.len()).filter(|row| !bad[*row]).collect::<Vec<_>>());
            prop_assert_eq!(refused, (0..bad.len()).filter(|row| bad[*row]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_bad_row_of_512_costs_19_attempts() {
        let bad: Vec<bool> = (0..512).map(|row| row == 77).collect();
        assert_eq!(run(&bad).2, 19);
    }
}
