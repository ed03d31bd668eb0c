//! Without transactions.

use super::*;

#[test]
fn outputs_keep_their_order_and_carry_their_source_id() {
    let Some(cluster) = Cluster::new("order") else { return };
    let sink = cluster.sink();
    sink.ensure_topics(&[(cluster.topic("out"), 3)].into()).expect("created");
    let target = cluster.target("out");
    let outputs =
        (0..2_000).map(|i| output(&target, Operation::Write, Some(&format!("k{}", i % 7)), Some(&i.to_string())));
    let batch = batch(0, outputs.collect());
    let published = sink.publish(&publish(&batch)).expect("published");
    assert_eq!(published.outputs, 2_000);
    let mut by_key: BTreeMap<String, Vec<(usize, i32)>> = BTreeMap::new();
    for record in cluster.read("out") {
        let number: usize = record.text().parse().expect("a number");
        assert_eq!(record.header("wasmill-id"), [format!("flow/id/0/{number}/0")]);
        by_key.entry(record.key.clone().expect("a key")).or_default().push((number, record.partition));
    }
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), 2_000);
    assert!(by_key.values().all(|seen| seen.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 == p[1].1)), "{by_key:?}");
}

#[test]
fn every_part_of_an_output_arrives() {
    let Some(cluster) = Cluster::new("parts") else { return };
    let sink = cluster.sink();
    sink.ensure_topics(&[(cluster.topic("out"), 4)].into()).expect("created");
    let target = cluster.target("out");
    let whole = Output {
        headers: headers(&[("a", Some("1")), ("a", None), ("wasmill-id", Some("old")), ("b", Some(""))]),
        timestamp: 1_600_000_000_000,
        partition: Some(3),
        ..output(&target, Operation::Write, Some(""), Some(""))
    };
    let bare = Output { partition: Some(2), ..output(&target, Operation::Write, None, None) };
    let gone = Output { partition: Some(1), ..output(&target, Operation::Delete, Some("k"), Some("ignored")) };
    sink.publish(&publish(&batch(5, vec![whole, bare, gone]))).expect("published");
    let records = cluster.read("out");
    let [gone, bare, whole] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((gone.partition, gone.key.as_deref(), gone.value.as_deref()), (1, Some("k"), None));
    assert_eq!((bare.partition, bare.key.as_deref(), bare.value.as_deref()), (2, None, None));
    assert_eq!((whole.partition, whole.key.as_deref(), whole.value.as_deref()), (3, Some(""), Some(&b""[..])));
    assert_eq!(whole.timestamp, Some(1_600_000_000_000));
    let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let wanted = [some("a", "1"), ("a".into(), None), some("b", ""), some("wasmill-id", "flow/id/0/5/0")];
    assert_eq!(whole.headers, wanted);
}

#[test]
fn missing_topics_get_the_partition_count_of_their_source() {
    let Some(cluster) = Cluster::new("create") else { return };
    let topics = BTreeMap::from([(cluster.topic("a"), 5), (cluster.topic("b"), 1)]);
    for _ in 0..2 {
        cluster.sink().ensure_topics(&topics).expect("created");
    }
    let metadata = cluster.consumer("g").fetch_metadata(None, SOON).expect("an answer");
    for (name, count) in topics {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name).expect("it exists");
        assert_eq!(topic.partitions().len(), count as usize);
    }
    let sink = KafkaSink::open(Settings { create_topics: false, ..cluster.settings() }).expect("valid settings");
    let missing = cluster.topic("missing");
    let error = sink.ensure_topics(&[(missing.clone(), 1)].into()).expect_err("it must not be created");
    assert!(matches!(&error, PublishError::Operator(words) if words.contains(&missing)), "{error:?}");
}

#[test]
fn a_name_that_the_brokers_do_not_take_costs_only_its_outputs() {
    let Some(cluster) = Cluster::new("alike") else { return };
    cluster.create("a_b", 1, &[]);
    let sink = cluster.sink();
    let error = sink.ensure_topics(&[(cluster.topic("a.b"), 1)].into()).expect_err("it is too much like the other one");
    assert!(matches!(&error, PublishError::Operator(words) if words.contains(&cluster.topic("a.b"))), "{error:?}");
    let outputs = ["a_b", "a.b"].map(|name| output(&cluster.target(name), Operation::Write, None, Some("v")));
    let batch = batch(0, outputs.into());
    let refused = sink.precheck(&batch, &Destinations::of(&batch));
    assert_eq!(
        refused.iter().map(|refusal| (refusal.item, refusal.code.as_str())).collect::<Vec<_>>(),
        [(1, "unknown-target")]
    );
}

#[test]
fn a_dead_letter_tells_all_and_is_cut_to_its_topics_limit() {
    let Some(cluster) = Cluster::new("dead") else { return };
    cluster.create("dlq", 1, &[("max.message.bytes", "20000")]);
    let topic = cluster.topic("dlq");
    let mut letters = [dead(&topic, b"{"), dead(&topic, &vec![b'x'; 500_000])];
    letters[1].1.id = "flow/id/0/8".into();
    let nothing = batch(7, Vec::new());
    let deadline = Instant::now() + SOON;
    // Brokers that do not tell a limit within a second are not asked again soon.
    let sink = loop {
        let sink = cluster.sink();
        sink.ensure_topics(&[(topic.clone(), 1)].into()).expect("it exists");
        if sink.limit(&topic) == 20_000 {
            break sink;
        }
        assert!(Instant::now() < deadline, "no limit was told");
    };
    let publish = Publish { batch: &nothing, dead_letters: &letters, commit: None };
    assert_eq!(sink.publish(&publish).expect("published").outputs, 0);
    let records = cluster.read("dlq");
    let [small, large] = records.as_slice() else { panic!("{} records", records.len()) };
    assert_eq!((small.key.as_deref(), small.text()), (Some("k"), "{"));
    assert!(small.timestamp > Some(1_700_000_000_000), "the record's own time would be at the mercy of the retention");
    assert_eq!(small.header("original"), ["1"]);
    let told = ["id", "topic", "partition", "offset", "stage", "code", "message", "module", "sink"];
    let told = told.map(|name| small.header(&format!("wasmill-{name}")).join(","));
    assert_eq!(told, ["flow/id/0/7", "t", "0", "7", "transform", "decode", "expected value", "quotes", ""]);
    assert!(large.value.as_ref().is_some_and(|value| value.len() > 10_000 && value.len() < 20_000));
    assert!(large.header("wasmill-truncated")[0].starts_with("length=500000; sha256="));
}

#[test]
fn a_record_that_its_topic_does_not_take_costs_only_itself() {
    let Some(cluster) = Cluster::new("limit") else { return };
    cluster.create("small", 1, &[("max.message.bytes", "20000")]);
    let (sink, target) = (cluster.sink(), cluster.target("small"));
    sink.ensure_topics(&[(cluster.topic("small"), 1)].into()).expect("it exists");
    let large = "x".repeat(30_000);
    let mut outputs: Vec<Output> =
        (0..200).map(|_| output(&target, Operation::Write, None, Some(&"y".repeat(1_000)))).collect();
    outputs.insert(100, output(&target, Operation::Write, None, Some(&large)));
    assert_eq!(through(&sink, batch(0, outputs)), [(100, "too-large".to_owned())]);
    assert_eq!(cluster.read("small").len(), 200);
}

#[test]
fn a_record_that_the_brokers_find_invalid_costs_only_itself() {
    let Some(cluster) = Cluster::new("invalid") else { return };
    cluster.create("compacted", 1, &[("cleanup.policy", "compact")]);
    let (sink, target) = (cluster.sink(), cluster.target("compacted"));
    sink.ensure_topics(&[(cluster.topic("compacted"), 1)].into()).expect("it exists");
    let mut outputs: Vec<Output> =
        (0..50).map(|i| output(&target, Operation::Write, Some(&i.to_string()), Some("v"))).collect();
    outputs.insert(25, output(&target, Operation::Write, None, Some("without a key")));
    assert_eq!(through(&sink, batch(0, outputs)), [(25, "kafka-InvalidRecord".to_owned())]);
    assert_eq!(cluster.read("compacted").len(), 50);
}

#[test]
fn what_follows_a_refused_record_stays_behind_its_neighbours() {
    let Some(cluster) = Cluster::new("gapless") else { return };
    cluster.create("compacted", 2, &[("cleanup.policy", "compact")]);
    // Requests of a few records, and many of them: others are on their way when one is refused.
    let properties = vec![("batch.num.messages".into(), "4".into())];
    let sink = KafkaSink::open(Settings { properties, ..cluster.settings() }).expect("valid settings");
    let target = cluster.target("compacted");
    sink.ensure_topics(&[(cluster.topic("compacted"), 2)].into()).expect("it exists");
    let numbered = |i: usize| Output {
        partition: Some((i % 2) as i32),
        ..output(&target, Operation::Write, Some(&i.to_string()), Some(&i.to_string()))
    };
    let ends = [400, 20_000, 20_100];
    for (start, end) in [0].into_iter().chain(ends).zip(ends) {
        let mut outputs: Vec<Output> = (start..end).map(numbered).collect();
        outputs[30].key = None;
        assert_eq!(
            through(&sink, batch(start as i64, outputs)),
            [(start as i64 + 30, "kafka-InvalidRecord".to_owned())]
        );
    }
    let records = cluster.read("compacted");
    for partition in 0..2 {
        let of = records.iter().filter(|record| record.partition == partition as i32);
        let numbers: Vec<usize> = of.map(|record| record.text().parse().expect("a number")).collect();
        let wanted = (0..20_100).filter(|i| i % 2 == partition && ![30, 430, 20_030].contains(i));
        assert!(numbers.iter().copied().eq(wanted), "{numbers:?}");
    }
}

#[test]
fn what_no_cluster_takes_is_refused_before_anything_is_sent() {
    let Some(cluster) = Cluster::new("precheck") else { return };
    let sink = cluster.sink();
    let good = cluster.target("a");
    let huge = "x".repeat(sink.max_bytes);
    let outputs = vec![
        output(&good, Operation::Write, None, Some("v")),
        output(&good, Operation::Write, None, Some(&huge)),
        output(&target("kafka", "no topic", None, &[], &[]), Operation::Write, None, Some("v")),
        output(&good, Operation::Delete, Some("k"), Some(&huge)),
    ];
    let batch = batch(0, outputs);
    let refused = sink.precheck(&batch, &Destinations::of(&batch));
    assert_eq!(refused.iter().map(|refusal| refusal.item).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(refused[0].code, Code::TOO_LARGE);
}

#[test]
fn an_unreachable_cluster_is_waited_for() {
    let settings =
        Settings { brokers: "127.0.0.1:1".into(), properties: Vec::new(), create_topics: true, transactional_id: None };
    let sink = KafkaSink::open(settings).expect("valid settings");
    let begun = Instant::now();
    let error = sink.ensure_topics(&[("t".into(), 1)].into()).expect_err("nobody is there");
    assert!(matches!(error, PublishError::Wait(_)), "{error:?}");
    let one = batch(0, vec![output(&target("kafka", "t", None, &[], &[]), Operation::Write, None, Some("v"))]);
    let error = sink.publish(&publish(&one)).expect_err("nobody is there");
    assert!(matches!(error, PublishError::Wait(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(40));
}

/// Publishes until everything that may arrive has; what was refused, by its index in the first batch.
fn through(sink: &KafkaSink, batch: SinkBatch) -> Vec<(i64, String)> {
    let mut batch = batch;
    let mut refused = Vec::new();
    let deadline = Instant::now() + SOON;
    let take = |batch: &mut SinkBatch, found: Vec<Refusal>, refused: &mut Vec<(i64, String)>| {
        refused.extend(found.iter().map(|refusal| (batch.items[refusal.item].offset, refusal.code.to_string())));
        let mut index = 0..;
        batch.items.retain(|_| index.next().is_none_or(|index| !found.iter().any(|refusal| refusal.item == index)));
    };
    while Instant::now() < deadline {
        let found = sink.precheck(&batch, &Destinations::of(&batch));
        take(&mut batch, found, &mut refused);
        match sink.publish(&publish(&batch)) {
            Ok(_) => return refused,
            Err(PublishError::Refused(found)) => take(&mut batch, found, &mut refused),
            Err(PublishError::Wait(_)) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("not through after {SOON:?}; refused so far: {refused:?}");
}

#[test]
fn a_cluster_that_tells_no_limits_is_not_waited_for() {
    let mock = rdkafka::mocking::MockCluster::new(1).expect("a mock cluster");
    mock.create_topic("t", 2, 1).expect("created");
    let settings = Settings {
        brokers: mock.bootstrap_servers(),
        properties: Vec::new(),
        create_topics: true,
        transactional_id: None,
    };
    let sink = KafkaSink::open(settings).expect("valid settings");
    let begun = Instant::now();
    sink.ensure_topics(&[("t".into(), 2)].into()).expect("it is there");
    let one = batch(0, vec![output(&target("kafka", "t", None, &[], &[]), Operation::Write, None, Some("v"))]);
    assert_eq!(sink.publish(&publish(&one)).expect("published").outputs, 1);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    eprintln!("{:?}", begun.elapsed());
}
