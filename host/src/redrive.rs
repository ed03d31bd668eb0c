//! Records that are processed once more after they have become dead letters. `wasmill dlq redrive` copies letters to the
//! topic `<group>.redrive`, which only that flow reads. There a record has two places: its own, by which progress is kept
//! like that of every other topic, and the one that it comes from, by which the module sees it, source ids are made and
//! documents are guarded. Only what was refused is written again. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::outcome::{Output, Ruling, Transformed, Verdict};
use crate::record::{Header, Slice, SliceBuilder};
use crate::sinks::Span;
use crate::sinks::dead_letter;

/// The end of the names of redrive topics.
pub const SUFFIX: &str = ".redrive";
/// Why nothing came of a redriven output.
const GONE: &str = "redriven output is not made any more";

/// The topic that letters of a group are copied to.
pub fn topic(group: &str) -> String {
    format!("{group}{SUFFIX}")
}

/// What is known of a redriven record beside the record itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Its offset in the redrive topic.
    pub position: i64,
    /// `wasmill-id` of the letter.
    pub id: String,
    /// `flow/topic-id/partition/offset`: what the source ids of its outputs begin with.
    pub record_id: String,
    /// The one output that is to be written; all of them where the modules condemned the record.
    pub wanted: Option<Wanted>,
    /// How often it has been redriven, this time included.
    pub times: u32,
}

/// An output that a sink refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub path: String,
    pub sink: String,
    pub target: String,
}

/// A record of a redrive topic, as the client hands it out.
pub struct Copied<'a> {
    pub position: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
}

/// The record as it was at its origin, in a slice of its own; `None` where it does not say where it comes from.
pub fn slice(copied: &Copied<'_>) -> Option<Slice> {
    let told = dead_letter::Told::of(copied.headers);
    let redriven = Redriven::of(copied.position, &told)?;
    let mut slice = SliceBuilder::new(told.topic?.into(), told.partition?);
    let original = copied.headers.iter().copied().filter(|(name, _)| !dead_letter::is_ours(name));
    slice.push(told.offset?, told.timestamp?, copied.key, copied.value, original);
    Some(slice.build().redriven_as(redriven))
}

impl Redriven {
    /// Reads what a letter's headers say.
    pub fn of(position: i64, told: &dead_letter::Told<'_>) -> Option<Self> {
        let id = told.id?;
        let (record_id, wanted) = match told.sink.filter(|sink| !sink.is_empty()) {
            None => (id, None),
            Some(sink) => {
                let (record_id, path) = id.rsplit_once('/')?;
                let (sink, target) = (sink.to_owned(), told.target?.to_owned());
                (record_id, Some(Wanted { path: path.to_owned(), sink, target }))
            }
        };
        // flow, topic, partition and offset.
        (record_id.split('/').count() >= 4).then(|| Redriven {
            position,
            id: id.to_owned(),
            record_id: record_id.to_owned(),
            wanted,
            times: told.redriven,
        })
    }

    /// The `wasmill-id` of a letter that tells of a verdict on this record: the same as before.
    pub fn letter_id(&self, path: &str) -> String {
        match (&self.wanted, path) {
            (Some(_), _) | (None, "") => self.id.clone(),
            (None, path) => format!("{}/{path}", self.record_id),
        }
    }

    /// Leaves of an outcome what is to be written. A record of which nothing is left is filtered and says so.
    pub fn only_wanted(&self, mut outcome: Transformed) -> Transformed {
        let Some(wanted) = &self.wanted else { return outcome };
        outcome.outputs.retain(|output| wanted.is(output));
        if outcome.outputs.is_empty() && outcome.verdicts.is_empty() {
            let ruling = Ruling::Skip { reason: GONE.into() };
            outcome.verdicts.push(Verdict { record: 0, ruling, module: "".into() });
        }
        outcome
    }

    /// Where the record comes from, as a span: what it was guarded by the first time.
    fn origin(&self, slice: &Slice) -> Span {
        let topic_id = self.record_id.rsplit('/').nth(2).unwrap_or_default();
        let (topic, partition) = (slice.topic.clone(), slice.partition);
        let offset = slice.offset(0);
        Span { topic, topic_id: topic_id.into(), partition, start: offset, end: offset + 1, digest: "".into() }
    }
}

impl Wanted {
    /// Whether this is the output that was refused.
    pub fn is(&self, output: &Output) -> bool {
        let Wanted { path, sink, target } = self;
        output.target.sink == *sink && output.destination() == *target && output.path.to_string() == *path
    }
}

/// The redriven records of a batch, by span and position.
#[derive(Debug, Default)]
pub struct Redrives {
    records: HashMap<(usize, i64), Origin>,
    /// Partitions that they come from.
    partitions: Vec<Span>,
}

#[derive(Debug)]
struct Origin {
    redriven: Arc<Redriven>,
    /// Index into the partitions.
    partition: usize,
    offset: i64,
}

impl Redrives {
    /// `None` for all batches but those with redriven records.
    pub fn of(slices: &[(usize, Slice)]) -> Option<Arc<Redrives>> {
        let mut redrives = Redrives::default();
        for (span, slice) in slices {
            let Some(redriven) = slice.redriven() else { continue };
            let origin = redriven.origin(slice);
            let same = |known: &Span| (&known.topic_id, known.partition) == (&origin.topic_id, origin.partition);
            let partition = redrives.partitions.iter().position(same).unwrap_or(redrives.partitions.len());
            let offset = origin.start;
            if partition == redrives.partitions.len() {
                redrives.partitions.push(origin);
            }
            let origin = Origin { redriven: redriven.clone(), partition, offset };
            redrives.records.insert((*span, redriven.position), origin);
        }
        (!redrives.records.is_empty()).then(|| Arc::new(redrives))
    }

    /// The record at a place of the batch, if it is a redriven one.
    pub fn get(&self, span: usize, position: i64) -> Option<&Redriven> {
        self.records.get(&(span, position)).map(|origin| &*origin.redriven)
    }

    /// The partitions that the records come from.
    pub fn partitions(&self) -> &[Span] {
        &self.partitions
    }

    /// Index of the partition that a record comes from, and its offset there.
    pub fn place(&self, span: usize, position: i64) -> Option<(usize, i64)> {
        self.records.get(&(span, position)).map(|origin| (origin.partition, origin.offset))
    }
}

/// Names of redrive topics that are not this group's, as patterns of librdkafka, which knows no negation: a flow that
/// reads by pattern must not take letters of others for records.
pub fn foreign_topics(group: &str) -> String {
    let suffix = regex::escape(SUFFIX);
    let mut patterns = vec![format!("^{}.+{suffix}$", regex::escape(group))];
    for (at, letter) in group.char_indices() {
        let before = regex::escape(&group[..at]);
        patterns.push(format!("^{before}[^{letter}].*{suffix}$"));
        patterns.push(format!("^{before}{suffix}$"));
    }
    patterns.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::TargetSpec;
    use crate::outcome::{Headers, Operation, Path};
    use proptest::prelude::*;

    const ID: &str = "f/topicid/3/41";

    fn headers<'a>(id: &'a str, sink: &'a str, target: &'a str) -> Vec<Header<'a>> {
        let value = |text: &'a str| Some(text.as_bytes());
        vec![
            ("mine", None),
            ("wasmill-id", value(id)),
            ("wasmill-topic", value("t")),
            ("wasmill-partition", value("3")),
            ("wasmill-offset", value("41")),
            ("wasmill-timestamp", value("-1")),
            ("wasmill-sink", value(sink)),
            ("wasmill-target", value(target)),
            ("wasmill-redriven", value("2")),
        ]
    }

    fn made(headers: &[Header<'_>]) -> Option<Slice> {
        slice(&Copied { position: 7, key: Some(b"k"), value: None, headers })
    }

    fn output(path: u32, sink: &str, name: &str) -> Output {
        Output {
            record: 0,
            path: Path::new(path),
            target: Arc::new(TargetSpec { sink: sink.into(), name: name.into(), table: None }),
            suffix: None,
            operation: Operation::Write,
            key: None,
            value: None,
            headers: Headers { count: 0, encoded: Default::default() },
            timestamp: -1,
            partition: None,
        }
    }

    #[test]
    fn a_copied_letter_is_the_record_that_it_was_and_has_its_own_position() {
        let slice = made(&headers(ID, "", "")).unwrap();
        let record = slice.record(0);
        assert_eq!((&*slice.topic, slice.partition, record.offset, slice.position(0)), ("t", 3, 41, 7));
        assert_eq!((record.timestamp, record.key, record.value), (-1, Some(&b"k"[..]), None));
        assert_eq!(record.headers, [("mine", None)]);
        let redriven = slice.redriven().unwrap();
        assert_eq!((redriven.times, redriven.wanted.is_none(), redriven.letter_id("")), (2, true, ID.to_owned()));
        assert_eq!(redriven.letter_id("1.0"), format!("{ID}/1.0"));
        let redrives = Redrives::of(&[(4, slice)]).unwrap();
        assert_eq!((redrives.place(4, 7), redrives.place(4, 41)), (Some((0, 41)), None));
        assert_eq!((&*redrives.partitions()[0].topic_id, redrives.partitions()[0].partition), ("topicid", 3));
    }

    #[test]
    fn of_a_refused_output_only_that_output_is_left() {
        let id = format!("{ID}/1");
        let slice = made(&headers(&id, "postgres", "rows")).unwrap();
        let redriven = slice.redriven().unwrap();
        assert_eq!(
            (redriven.record_id.as_str(), redriven.letter_id(""), redriven.letter_id("1")),
            (ID, id.clone(), id)
        );
        let all = || vec![output(0, "postgres", "rows"), output(1, "postgres", "rows"), output(1, "mongodb", "rows")];
        let left = redriven.only_wanted(Transformed { outputs: all(), ..Transformed::default() });
        assert_eq!(left.outputs.len(), 1);
        assert!(left.outputs[0].target.sink == "postgres" && left.outputs[0].path == Path::new(1));
        let outputs = vec![output(0, "postgres", "rows")];
        let left = redriven.only_wanted(Transformed { outputs, ..Transformed::default() });
        assert!(left.outputs.is_empty() && matches!(left.verdicts[0].ruling, Ruling::Skip { .. }));
    }

    #[test]
    fn a_record_that_does_not_say_where_it_comes_from_is_none() {
        for missing in ["wasmill-id", "wasmill-topic", "wasmill-partition", "wasmill-offset", "wasmill-timestamp"] {
            let rest: Vec<Header<'_>> = headers(ID, "", "").into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(made(&rest).is_none(), "{missing}");
        }
        assert!(made(&headers("no/id", "", "")).is_none());
    }

    proptest! {
        #[test]
        fn every_redrive_topic_but_the_own_one_is_foreign(
            group in "[a-c.]{1,4}",
            other in "[a-c.]{0,5}",
        ) {
            let patterns: Vec<regex::Regex> =
                foreign_topics(&group).split(',').map(|p| regex::Regex::new(p).unwrap()).collect();
            let is_foreign = |name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
            prop_assert!(!is_foreign(&topic(&group)));
            prop_assert_eq!(is_foreign(&topic(&other)), other != group);
            prop_assert!(!is_foreign("orders"));
        }
    }
}
