//! Where a newly assigned partition begins: the lowest of the committed offset and what each SQL sink has stored, so
//! that whoever is behind gets what it lacks and whoever is ahead skips it.

/// What is known of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The group's offset.
    pub group: i64,
    /// Progress of the sinks that have any.
    pub lanes: &'a [i64],
    /// The oldest offset that the log still holds.
    pub low: i64,
    /// The end of the log.
    pub end: i64,
}

/// From where, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub start: i64,
    /// Kafka outputs below are already published.
    pub kafka_lane: i64,
    /// Some sink has everything below: what is condemned there only now was written by an earlier attempt.
    pub passed: i64,
}

/// Why a partition cannot be read until somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Retention has deleted what comes from this offset.
    Deleted(i64),
    /// The sink, by index of its lane, is beyond the log: new records would be taken for old ones.
    SinkBeyond(usize),
    /// The group is beyond the log.
    GroupBeyond,
}

/// The group's offset; where it has none, the lowest progress of a sink speaks for it.
pub fn group_offset(committed: Option<i64>, lanes: impl Iterator<Item = i64>) -> Option<i64> {
    committed.or(lanes.min())
}

/// Compares the group's offset with the sinks' progress and with what the log still holds.
pub fn begin(known: Known<'_>) -> Result<Beginning, Obstacle> {
    let Known { group, lanes, low, end } = known;
    let all = || lanes.iter().copied().chain([group]);
    let passed = all().max().unwrap_or(group);
    let start = match all().min().unwrap_or(group) {
        _ if mutant!(IgnoreProgress) => group,
        _ if mutant!(BeginAtFurthest) => passed,
        start => start,
    };
    if start < low {
        return Err(Obstacle::Deleted(start));
    }
    if let Some(sink) = lanes.iter().position(|lane| *lane > end) {
        return Err(Obstacle::SinkBeyond(sink));
    }
    if group > end {
        return Err(Obstacle::GroupBeyond);
    }
    Ok(Beginning { start, kafka_lane: group, passed })
}

/// What another tool did to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The sink, by index of its lane, has what comes before `until` and gets none of it again.
    Back { sink: usize, until: i64 },
    /// The sink lacks what comes from `from`, and gets it although the group was moved beyond.
    Forward { sink: usize, from: i64 },
    /// No sink tells where the group was.
    Somewhere,
}

/// Tells whether the group was moved: its offset does not carry our mark, or a sink is further ahead of it than a crash
/// can explain.
pub fn moved(group: i64, marked: bool, lanes: &[i64], plausible_gap: i64) -> Vec<Moved> {
    let of = |(sink, lane): (usize, &i64)| match lane - group {
        ahead if ahead > plausible_gap || (ahead > 0 && !marked) => Some(Moved::Back { sink, until: *lane }),
        ahead if ahead < 0 && !marked => Some(Moved::Forward { sink, from: *lane }),
        _ => None,
    };
    let moved = lanes.iter().enumerate().filter_map(of).collect();
    if lanes.is_empty() && !marked { vec![Moved::Somewhere] } else { moved }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_behind_gets_what_it_lacks() {
        let begin = |group, lanes: &[i64]| begin(Known { group, lanes, low: 3, end: 20 });
        assert_eq!(begin(8, &[9, 6]), Ok(Beginning { start: 6, kafka_lane: 8, passed: 9 }));
        assert_eq!(begin(8, &[]), Ok(Beginning { start: 8, kafka_lane: 8, passed: 8 }));
        assert_eq!(begin(8, &[9, 2]), Err(Obstacle::Deleted(2)));
        assert_eq!(begin(8, &[9, 21]), Err(Obstacle::SinkBeyond(1)));
        assert_eq!(begin(21, &[9]), Err(Obstacle::GroupBeyond));
        assert_eq!(group_offset(None, [7, 5].into_iter()), Some(5));
    }

    #[test]
    fn an_offset_without_our_mark_was_set_by_somebody_else() {
        assert_eq!(moved(8, true, &[9, 6], 100), []);
        assert_eq!(moved(8, true, &[109], 100), [Moved::Back { sink: 0, until: 109 }]);
        let both = [Moved::Back { sink: 0, until: 9 }, Moved::Forward { sink: 2, from: 6 }];
        assert_eq!(moved(8, false, &[9, 8, 6], 100), both);
        assert_eq!(moved(8, false, &[], 100), [Moved::Somewhere]);
    }
}
