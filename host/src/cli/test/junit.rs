//! The report in JUnit's form, which build servers read: one suite per module, one case per sample.

use super::show;
use crate::samples::check::Case;

/// The whole file.
pub(super) fn report(module: &str, cases: &[Case]) -> String {
    let failed = cases.iter().filter(|case| !case.passed).count();
    let seconds: f64 = cases.iter().map(|case| case.time.as_secs_f64()).sum();
    let (module, total) = (escaped(module), cases.len());
    let body: String = cases.iter().map(|case| self::case(&module, case)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{module}\" tests=\"{total}\" \
         failures=\"{failed}\" errors=\"0\" time=\"{seconds:.6}\">\n{body}</testsuite>\n</testsuites>\n"
    )
}

fn case(module: &str, case: &Case) -> String {
    let name = case.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let name = escaped(&format!("{}:{}{name}", case.file, case.line));
    let open = format!("<testcase classname=\"{module}\" name=\"{name}\" time=\"{:.6}\"", case.time.as_secs_f64());
    if case.passed {
        return format!("{open}/>\n");
    }
    let lines = show::difference(case, crate::cli::out::Style::plain());
    let message = case.notes.first().map_or("another outcome than expected", String::as_str);
    format!("{open}><failure message=\"{}\">{}</failure></testcase>\n", escaped(message), escaped(&lines.join("\n")))
}

/// XML has no way to write most control characters at all.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_failed_case_carries_its_difference() {
        let case = |line, passed| Case {
            file: "samples/a.jsonl".into(),
            line,
            name: Some("<odd>".into()),
            sample: "{}".into(),
            expected: Some(serde_json::json!({ "skip": "a" })),
            actual: serde_json::json!({ "skip": "b & c" }),
            notes: Vec::new(),
            passed,
            time: Duration::from_millis(2),
            cost: None,
        };
        let report = report("quotes", &[case(1, true), case(2, false)]);
        assert!(report.contains("tests=\"2\" failures=\"1\""), "{report}");
        assert!(report.contains("name=\"samples/a.jsonl:2 &lt;odd&gt;\" time=\"0.002000\"><failure"), "{report}");
        assert!(report.contains("b &amp; c"), "{report}");
        assert_eq!(report.matches("<testcase").count(), 2);
    }
}
