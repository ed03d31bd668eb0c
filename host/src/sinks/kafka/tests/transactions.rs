//! With transactions.

use super::*;

/// A member of a group that has the source topic assigned.
fn member(cluster: &Cluster, group: &str) -> BaseConsumer {
    let consumer = cluster.consumer(group);
    consumer.subscribe(&[&cluster.topic("source")]).expect("subscribed");
    let deadline = Instant::now() + SOON;
    while consumer.assignment().expect("an assignment").count() == 0 {
        assert!(Instant::now() < deadline, "no assignment");
        drop(consumer.poll(Duration::from_millis(50)));
    }
    consumer
}

/// The committed offset with its metadata.
fn committed(cluster: &Cluster, consumer: &BaseConsumer) -> (Offset, String) {
    let mut list = TopicPartitionList::new();
    list.add_partition(&cluster.topic("source"), 0);
    let found = answer("the coordinator has the offset", || consumer.committed_offsets(list.clone(), SOON));
    let element = &found.elements()[0];
    (element.offset(), element.metadata().to_owned())
}

fn offsets(cluster: &Cluster, offset: i64) -> Vec<(Arc<str>, i32, i64, String)> {
    vec![(cluster.topic("source").into(), 0, offset, format!("v1;at={offset}"))]
}

fn outputs(cluster: &Cluster, count: usize) -> SinkBatch {
    let target = cluster.target("out");
    batch(0, (0..count).map(|i| output(&target, Operation::Write, None, Some(&i.to_string()))).collect())
}

fn set_up(test: &str) -> Option<Cluster> {
    let cluster = Cluster::new(test)?;
    let topics = ["source", "out", "dlq"].map(|name| (cluster.topic(name), 1));
    cluster.sink().ensure_topics(&topics.into()).expect("created");
    Some(cluster)
}

#[test]
fn outputs_dead_letters_and_offsets_become_visible_together() {
    let Some(cluster) = set_up("together") else { return };
    let member = member(&cluster, &cluster.prefix);
    let sink = cluster.transactional();
    let group = member.group_metadata().expect("a member");
    for round in 1..=3 {
        let (batch, offsets) = (outputs(&cluster, 10), offsets(&cluster, round));
        let letters = [dead(&cluster.topic("dlq"), b"{")];
        let commit = Some(TransactionCommit { offsets: &offsets, group: &group });
        let published = sink.publish(&Publish { batch: &batch, dead_letters: &letters, commit }).expect("published");
        assert_eq!(published.outputs, 10);
        assert_eq!(cluster.read_all("out", 10 * round as usize).len(), 10 * round as usize);
        assert_eq!(cluster.read_all("dlq", round as usize).len(), round as usize);
        let deadline = Instant::now() + SOON;
        while committed(&cluster, &member) != (Offset::Offset(round), format!("v1;at={round}")) {
            assert!(Instant::now() < deadline, "the offset is {:?}", committed(&cluster, &member));
        }
    }
}

#[test]
fn a_member_that_the_group_has_left_behind_publishes_nothing() {
    let Some(cluster) = set_up("stale") else { return };
    let first = member(&cluster, &cluster.prefix);
    let stale = first.group_metadata().expect("a member");
    let sink = cluster.transactional();
    first.unsubscribe();
    let second = member(&cluster, &cluster.prefix);
    let (batch, offsets) = (outputs(&cluster, 10), offsets(&cluster, 1));
    let error = sink
        .publish(&Publish {
            batch: &batch,
            dead_letters: &[],
            commit: Some(TransactionCommit { offsets: &offsets, group: &stale }),
        })
        .expect_err("the group has moved on");
    assert!(matches!(error, PublishError::StaleGeneration(_)), "{error:?}");
    assert_eq!(cluster.read("out"), []);
    assert_eq!(committed(&cluster, &second).0, Offset::Invalid);
    let group = second.group_metadata().expect("a member");
    let commit = Some(TransactionCommit { offsets: &offsets, group: &group });
    sink.publish(&Publish { batch: &batch, dead_letters: &[], commit }).expect("the same producer goes on");
    assert_eq!(cluster.read_all("out", 10).len(), 10);
}

#[test]
fn a_refused_record_leaves_nothing_behind_and_the_rest_goes_through() {
    let Some(cluster) = set_up("refused") else { return };
    cluster.create("compacted", 1, &[("cleanup.policy", "compact")]);
    let member = member(&cluster, &cluster.prefix);
    let (sink, group, offsets) =
        (cluster.transactional(), member.group_metadata().expect("a member"), offsets(&cluster, 3));
    let target = cluster.target("compacted");
    let write = |key| output(&target, Operation::Write, key, Some("v"));
    let mut batch = batch(0, vec![write(Some("a")), write(None), write(Some("b")), write(None), write(Some("c"))]);
    let commit = || Some(TransactionCommit { offsets: &offsets, group: &group });
    let error = sink.publish(&Publish { batch: &batch, dead_letters: &[], commit: commit() }).expect_err("refused");
    let PublishError::Refused(refused) = error else { panic!("{error:?}") };
    assert_eq!(refused.iter().map(|refusal| refusal.item).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(cluster.read("compacted"), []);
    batch.items.retain(|item| item.output.key.is_some());
    sink.publish(&Publish { batch: &batch, dead_letters: &[], commit: commit() }).expect("published");
    assert_eq!(cluster.read_all("compacted", 3).len(), 3);
}

#[test]
fn a_twin_fences_the_older_producer() {
    let Some(cluster) = set_up("twin") else { return };
    let member = member(&cluster, &cluster.prefix);
    let group = member.group_metadata().expect("a member");
    let (older, batch, offsets) = (cluster.transactional(), outputs(&cluster, 1), offsets(&cluster, 1));
    let _twin = cluster.transactional();
    let commit = Some(TransactionCommit { offsets: &offsets, group: &group });
    let error = older.publish(&Publish { batch: &batch, dead_letters: &[], commit }).expect_err("fenced");
    assert!(matches!(error, PublishError::Fenced(_)), "{error:?}");
    assert_eq!(cluster.read("out"), []);
}

#[test]
fn a_transaction_takes_milliseconds() {
    let Some(cluster) = set_up("fast") else { return };
    let member = member(&cluster, &cluster.prefix);
    let (sink, group) = (cluster.transactional(), member.group_metadata().expect("a member"));
    let mut times: Vec<Duration> = (1..=30)
        .map(|round| {
            let (batch, offsets) = (outputs(&cluster, 500), offsets(&cluster, round));
            let commit = Some(TransactionCommit { offsets: &offsets, group: &group });
            let begun = Instant::now();
            sink.publish(&Publish { batch: &batch, dead_letters: &[], commit }).expect("published");
            begun.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("500 records per transaction: median {:?}, slowest {:?}", times[15], times[29]);
    // A client that sleeps on its own queue takes 100 ms and more, on any machine.
    assert!(times[15] < Duration::from_millis(80), "{times:?}");
}

#[test]
fn a_shorter_life_of_transactions_shortens_the_deliveries() {
    for user in [&[][..], &[("delivery.timeout.ms", "9000")], &[("message.timeout.ms", "300000")]] {
        let properties = user.iter().chain(&[("transaction.timeout.ms", "5000")]);
        let properties = properties.map(|(key, value)| (String::from(*key), String::from(*value))).collect();
        let transactional_id = Some("short".into());
        // Nothing listens there; the client looks at its settings only.
        let settings = Settings { brokers: "127.0.0.1:1".into(), properties, create_topics: false, transactional_id };
        KafkaSink::open(settings).unwrap_or_else(|error| panic!("{user:?}: {error}"));
    }
}
