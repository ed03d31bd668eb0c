//! What is in the source topics: quotes from a seed, produced before the first run that reads them and kept for the
//! others of the same shape. 2 % are not JSON, 2 % have a key; the last record of each partition is a quote, because a peer may
//! commit nothing past the last record that it could read.

use std::collections::BTreeMap;

use wasmill_tests::samples::{self, Sample};
use wasmill_tests::{case, kafka};

/// Bytes of all records of one load, at most.
const BYTES: usize = 300 << 20;
/// Records that are produced in one go.
const CHUNK: usize = 50_000;

/// The shape of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    /// Of all topics.
    pub(crate) records: usize,
    /// Of each topic.
    pub(crate) partitions: i32,
    /// Bytes of a record, padded where it is shorter.
    pub(crate) size: usize,
    /// Topics over which the records are spread, one flow each.
    pub(crate) topics: usize,
    /// Whether every image comes twice.
    pub(crate) repeats: bool,
}

/// The topics that are there.
#[derive(Debug, Default)]
pub(crate) struct Loads(BTreeMap<Load, Vec<String>>);

impl Load {
    /// As many records of this size as fit the bound, at most as many as now.
    pub(crate) fn of_size(self, size: usize) -> Self {
        Load { size, records: self.records.min(BYTES / size), ..self }
    }
}

impl Loads {
    /// The topics of a load, filled.
    pub(crate) fn topics(&mut self, load: Load) -> Vec<String> {
        self.0.entry(load).or_insert_with(|| (0..load.topics).map(|number| fill(load, number)).collect()).clone()
    }
}

fn fill(load: Load, number: usize) -> String {
    let topic = case::unique("bench-in");
    kafka::create_topic(&topic, load.partitions);
    let count = load.records / load.topics;
    let half = (count / 2).max(1);
    let last = count.saturating_sub(load.partitions as usize);
    let stream = samples::stream(&topic, load.partitions, 1 + number as u64).take(count).enumerate();
    let mut records = stream.map(|(n, sample)| {
        let sample = if n < last { sample } else { quote(&topic, (n - last) as i32, sample, n) };
        padded(if load.repeats { with_image(sample, n, n % half) } else { sample }, load.size)
    });
    loop {
        let chunk: Vec<_> = records.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return topic;
        }
        kafka::produce(&chunk);
    }
}

/// The sample as a quote without a key in this partition.
fn quote(topic: &str, partition: i32, mut sample: Sample, n: usize) -> Sample {
    let value = samples::quote_json(&sample.quote, "Homer Simpson", &format!("https://images.example/{n}.png"));
    sample.record = kafka::Outgoing::to(topic).partition(partition).value(value);
    sample
}

/// The same record about another image.
fn with_image(mut sample: Sample, from: usize, to: usize) -> Sample {
    if let Some(value) = sample.record.value.take() {
        let text = String::from_utf8(value).expect("samples are text");
        sample.record.value = Some(text.replace(&format!("/{from}.png"), &format!("/{to}.png")).into_bytes());
    }
    sample
}

fn padded(sample: Sample, size: usize) -> kafka::Outgoing {
    let mut record = sample.record;
    let length = record.value.as_ref().map_or(0, Vec::len);
    if let Some(value) = record.value.as_mut().filter(|value| value.last() == Some(&b'}') && length + 13 < size) {
        value.pop();
        value.extend_from_slice(format!(",\"padding\":\"{}\"}}", "x".repeat(size - length - 13)).as_bytes());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_padded_to_their_size_and_stay_json() {
        for sample in samples::quotes("t", 1, 200, 1) {
            let is_json = sample.record.value.as_ref().is_some_and(|value| value.ends_with(b"}"));
            let value = padded(sample, 300).value.expect("a value");
            assert_eq!(is_json, serde_json::from_slice::<serde_json::Value>(&value).is_ok());
            assert!(!is_json || value.len() == 300);
        }
    }

    #[test]
    fn images_come_twice_where_they_are_to() {
        let sample = samples::stream("t", 1, 1).nth(7).expect("endless");
        let value = with_image(sample, 7, 3).record.value.expect("a value");
        assert!(String::from_utf8(value).expect("text").contains("images.example/3.png"));
    }

    #[test]
    fn any_sample_can_be_a_quote() {
        for (n, sample) in samples::quotes("t", 4, 200, 1).into_iter().enumerate() {
            let record = quote("t", 3, sample, n).record;
            let value: serde_json::Value = serde_json::from_slice(&record.value.expect("a value")).expect("JSON");
            assert!(value["image"] == format!("https://images.example/{n}.png"));
            assert_eq!((record.partition, record.key), (Some(3), None));
        }
    }

    #[test]
    fn large_records_are_fewer() {
        let load = Load { records: 1_000_000, partitions: 4, size: 219, topics: 1, repeats: false };
        assert_eq!(load.of_size(219).records, 1_000_000);
        assert_eq!(load.of_size(10_240).records, 30_720);
    }
}
