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
    let start = lanes.iter().copied().chain([group]).min().unwrap_or(group);
    if start < low {
        return Err(Obstacle::Deleted(start));
    }
    if let Some(sink) = lanes.iter().position(|lane| *lane > end) {
        return Err(Obstacle::SinkBeyond(sink));
    }
    if group > end {
        return Err(Obstacle::GroupBeyond);
    }
    Ok(Beginning { start, kafka_lane: group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_behind_gets_what_it_lacks() {
        let begin = |group, lanes: &[i64]| begin(Known { group, lanes, low: 3, end: 20 });
        assert_eq!(begin(8, &[9, 6]), Ok(Beginning { start: 6, kafka_lane: 8 }));
        assert_eq!(begin(8, &[]), Ok(Beginning { start: 8, kafka_lane: 8 }));
        assert_eq!(begin(8, &[9, 2]), Err(Obstacle::Deleted(2)));
        assert_eq!(begin(8, &[9, 21]), Err(Obstacle::SinkBeyond(1)));
        assert_eq!(begin(21, &[9]), Err(Obstacle::GroupBeyond));
        assert_eq!(group_offset(None, [7, 5].into_iter()), Some(5));
    }
}
