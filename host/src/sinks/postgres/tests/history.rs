//! Which modules were in force from where on; and that nobody needs it to write.

use super::*;

/// Offsets `start..start + count` of one partition, made by these modules.
fn made_by(digest: &str, start: i64, count: i64) -> SinkBatch {
    let values: Vec<String> = (start..start + count).map(|n| format!("{{\"n\":{n}}}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let batch = rows(&target("pg", "t", None, &[], &["n:int"]), start, &values);
    let spans: Vec<Span> = batch.spans.iter().map(|span| Span { digest: digest.into(), ..span.clone() }).collect();
    SinkBatch { spans: spans.into(), ..batch }
}

const CHANGES: &str = "SELECT from_offset, module_digest FROM wasmill.module_history ORDER BY from_offset";

#[tokio::test]
async fn a_change_is_noted_once_and_a_partition_that_goes_back_forgets_what_comes_behind() {
    let Some(db) = Database::new("changes").await else { return };
    let sink = db.sink();
    for (digest, start) in [("a", 0), ("a", 5), ("b", 10), ("b", 15), ("a", 20)] {
        sink.write(&made_by(digest, start, 5)).await.expect("written");
    }
    assert_eq!(db.query(CHANGES).await, ["0|a", "10|b", "20|a"]);
    // A replay that reaches beyond what is there: what it repeats stays who made it.
    sink.write(&made_by("c", 20, 10)).await.expect("written");
    assert_eq!(db.query(CHANGES).await, ["0|a", "10|b", "20|a", "25|c"]);
    let told = sink.module_history("wasmill.flow", 2).await.expect("told");
    let told: Vec<(i64, &str, &str, i32)> =
        told.iter().map(|change| (change.from, &*change.digest, &*change.topic, change.partition)).collect();
    assert_eq!(told, [(25, "c", "t", 0), (20, "a", "t", 0)], "the newest first");
    assert_eq!(sink.module_history("wasmill.other", 9).await.expect("told"), []);
    sink.reset("wasmill.flow", &made_by("", 10, 0).spans).await.expect("reset");
    sink.write(&made_by("c", 10, 5)).await.expect("written");
    assert_eq!(db.query(CHANGES).await, ["0|a", "10|c"]);
    db.drop().await;
}

#[tokio::test]
async fn nothing_is_kept_without_progress_or_of_a_batch_that_is_rolled_back() {
    let Some(db) = Database::new("no_changes").await else { return };
    let sink = db.sink();
    sink.write(&SinkBatch { progress: false, ..made_by("a", 0, 5) }).await.expect("written");
    assert_eq!(sink.module_history("wasmill.flow", 9).await.expect("there is no table yet"), []);
    sink.write(&made_by("a", 0, 5)).await.expect("written");
    let mut bad = SinkBatch { strict: true, ..made_by("b", 5, 5) };
    bad.items[2].output.value = Some("{\"n\":\"bad\"}".into());
    sink.write(&bad).await.expect("refused as a whole");
    assert_eq!(db.query(CHANGES).await, ["0|a"]);
    db.drop().await;
}
