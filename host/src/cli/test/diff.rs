//! What differs between two texts, line by line. Texts of thousands of lines are not compared but shown one after the other.

/// Product of the line counts above which the table would be large.
const MOST: usize = 4_000_000;

/// Where a line is: in both, only in the expected text, only in the actual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Both,
    Expected,
    Actual,
}

/// The lines of both texts in one order.
pub(super) fn lines<'t>(expected: &'t str, actual: &'t str) -> Vec<(Side, &'t str)> {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let (mut at, mut to) = (0, 0);
    let mut merged = Vec::with_capacity(old.len().max(new.len()));
    if old.len() * new.len() <= MOST {
        let common = common(&old, &new);
        while at < old.len() && to < new.len() {
            match (common[at + 1][to], common[at][to + 1]) {
                _ if old[at] == new[to] => {
                    merged.push((Side::Both, old[at]));
                    (at, to) = (at + 1, to + 1);
                }
                (down, right) if down >= right => {
                    merged.push((Side::Expected, old[at]));
                    at += 1;
                }
                _ => {
                    merged.push((Side::Actual, new[to]));
                    to += 1;
                }
            }
        }
    }
    merged.extend(old[at..].iter().map(|line| (Side::Expected, *line)));
    merged.extend(new[to..].iter().map(|line| (Side::Actual, *line)));
    merged
}

/// How many lines the ends of both texts have in common, from each pair of places on.
fn common(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            table[at][to] = match old[at] == new[to] {
                true => table[at + 1][to + 1] + 1,
                false => table[at + 1][to].max(table[at][to + 1]),
            };
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expected: &str, actual: &str) -> String {
        let sign = |side| match side {
            Side::Both => ' ',
            Side::Expected => '-',
            Side::Actual => '+',
        };
        lines(expected, actual).into_iter().map(|(side, line)| format!("{}{line}\n", sign(side))).collect()
    }

    #[test]
    fn only_what_differs_is_marked() {
        assert_eq!(shown("a\nb\nc", "a\nx\nc\nd"), " a\n-b\n+x\n c\n+d\n");
        assert_eq!(shown("", "a"), "+a\n");
        assert_eq!(shown("a\nb", "b"), "-a\n b\n");
    }
}
