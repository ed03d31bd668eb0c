//! Outputs to topics that nobody has created yet.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, case, wait_until};

const PARTITIONS: i32 = 6;

#[test]
fn topics_that_several_partitions_of_a_batch_want_are_created_with_as_many() {
    let mut case = Case::new("routes");
    let topic = case.topic("in", PARTITIONS);
    let flow = case.flow_of("tenants", &topic);
    case.install("tenants");
    // While a batch is published and a second one waits for it, the third one takes what all partitions have.
    case.env = vec![("FAILPOINTS".into(), "publish.before=1*sleep(3000)".into())];
    let host = case.start();
    host.ready();
    let [first, all, one] = ["first", "all", "one"].map(case::unique);
    let record = |tenant: &str, partition: i32| {
        Outgoing::to(&topic).partition(partition).header("tenant", Some(tenant.as_bytes()))
    };
    for taken in [1.0, 2.0] {
        kafka::produce(&[record(&first, 0)]);
        wait_until("the batch is sealed", 30, || {
            host.metric("wasmill_records_in_total", &[("flow", &flow), ("topic", &topic)]) == taken
        });
    }
    let mut records: Vec<Outgoing> = (0..60).map(|n| record(&all, n % PARTITIONS)).collect();
    records.push(record(&one, 1));
    kafka::produce(&records);
    case.wait_until_committed(&flow, &topic, 60);
    let found = |tenant: &String| {
        let topic = format!("tenant-{tenant}");
        (kafka::consume_settled(&topic).len(), kafka::partition_count(&topic))
    };
    assert_eq!([&first, &all, &one].map(found), [(2, 6), (60, 6), (1, 6)]);
}
