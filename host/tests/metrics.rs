//! What docs/metrics.md, the dashboard and the alerts say of the metrics is what the host has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmill::metrics::{Described, Metrics};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn row(metric: &Described) -> String {
    format!("| `{}` | {} | {} | {} |", metric.name, metric.kind, metric.labels.join(", "), metric.help)
}

#[test]
fn the_reference_page_names_every_metric_as_it_is() {
    let page = read("docs/metrics.md");
    let told: BTreeSet<String> = page.lines().filter(|l| l.starts_with("| `wasmill_")).map(str::to_owned).collect();
    let wanted: BTreeSet<String> = Metrics::new().described().iter().map(row).collect();
    let missing: Vec<_> = wanted.difference(&told).collect();
    let wrong: Vec<_> = told.difference(&wanted).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing: {missing:#?}\nnot so: {wrong:#?}");
}

/// Names as they are used in queries: histograms by their parts.
fn known() -> BTreeSet<String> {
    let parts = |metric: Described| match metric.kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name)).to_vec(),
        _ => vec![metric.name],
    };
    Metrics::new().described().into_iter().flat_map(parts).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_exist() {
    let name = regex::Regex::new("wasmill_[a-z_]+").expect("a pattern");
    for (path, least) in [("deploy/grafana-dashboard.json", 10), ("deploy/alerts.yml", 5)] {
        let text = read(path);
        let used: BTreeSet<String> = name.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        let unknown: Vec<_> = used.difference(&known()).cloned().collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
        assert!(used.len() >= least, "{path} uses only {used:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() >= 8));
    let alerts = read("deploy/alerts.yml");
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(named.len(), 5, "{named:?}");
    let operating = read("docs/operating.md");
    for alert in named {
        assert!(operating.contains(&format!("### {alert}")), "docs/operating.md has no section for the alert {alert}");
    }
}
