//! With a real guest, where the guests have been built.

use super::*;
use crate::runtime::tests::{module, runtime};

fn folder(samples: &str, expected: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("samples")).unwrap();
    std::fs::write(dir.path().join("samples/a.jsonl"), samples).unwrap();
    if let Some(expected) = expected {
        std::fs::create_dir(dir.path().join("expected")).unwrap();
        std::fs::write(dir.path().join("expected/a.jsonl"), expected).unwrap();
    }
    dir
}

fn run(module: &Arc<Module>, dir: &Path, update: bool) -> Result<Vec<Case>, Trouble> {
    let limits = Limits { fuel: 20_000_000, ..Limits::default() };
    Check { runtime: &runtime(), module, dir, limits, update }.run()
}

#[test]
fn what_the_host_condemns_fails_with_its_reason_and_is_never_written() {
    let module = module!("hostile");
    let dir = folder(
        "{\"value\":\"fine\"}\n\n{\"value\":\"trap\"}\n{\"value\":\"undeclared\"}\n{\"name\":\"no\",\"value\":\"reject\"}\n",
        None,
    );
    assert!(matches!(run(&module, dir.path(), false), Err(Trouble::Bad(words)) if words.contains("--update")));
    for _ in 0..2 {
        let cases = run(&module, dir.path(), true).unwrap();
        let passed: Vec<bool> = cases.iter().map(|case| case.passed).collect();
        assert_eq!(passed, [true, false, false, true]);
        let note = cases[1].notes.join("; ");
        assert!(note.contains("src/lib.rs:") && note.contains("the record asked for a panic"), "{note}");
        assert!(cases[2].notes.join("; ").contains("hostile_elsewhere is not declared"), "{:?}", cases[2].notes);
        assert_eq!((cases[3].line, cases[3].name.as_deref()), (5, Some("no")));
        assert!(cases[0].cost.is_some_and(|cost| cost.fuel > 0 && cost.memory > 0));
    }
    let written = std::fs::read_to_string(dir.path().join("expected/a.jsonl")).unwrap();
    assert_eq!(written.lines().next_back(), Some("{\"reject\":\"the record asked for it\"}"));
    assert!(!written.contains("trap") && !written.contains("unknown-target"), "{written}");
}

#[test]
fn a_verdict_of_the_host_may_be_expected_by_hand() {
    let module = module!("hostile");
    let dir = folder(
        "{\"value\":\"loop\"}\n{\"value\":\"trap\"}\n",
        Some("{\"deadline\":\"fuel\"}\n{\"trap\":\"another panic\"}\n"),
    );
    let cases = run(&module, dir.path(), false).unwrap();
    assert_eq!(cases.iter().map(|case| case.passed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(cases[0].cost.map(|cost| cost.fuel), Some(20_000_000));
}

#[test]
fn lines_too_few_and_too_many_fail() {
    let module = module!("hostile");
    let reject = "{\"reject\":\"the record asked for it\"}\n";
    let sample = "{\"value\":\"reject\"}\n";
    let few = run(&module, folder(&sample.repeat(2), Some(reject)).path(), false).unwrap();
    assert_eq!(few.iter().map(|case| case.passed).collect::<Vec<_>>(), [true, false]);
    let many = run(&module, folder(sample, Some(&reject.repeat(2))).path(), false).unwrap();
    assert!(!many[0].passed && many[0].notes[0].contains("1 lines more"), "{:?}", many[0].notes);
}

#[test]
fn bad_files_are_named_with_their_line() {
    let module = module!("hostile");
    for (samples, expected, words) in [
        ("{}\nnonsense\n", "{}\n", "samples/a.jsonl:2: not JSON"),
        ("{\"ky\":1}\n", "{}\n", "samples/a.jsonl:1: not a sample: unknown field `ky`"),
        ("{}\n", "nonsense\n", "expected/a.jsonl:1: not JSON"),
        ("", "", "samples/a.jsonl has no lines"),
    ] {
        match run(&module, folder(samples, Some(expected)).path(), false) {
            Err(Trouble::Bad(found)) => assert!(found.starts_with(words), "{found}"),
            other => panic!("{samples:?}: {other:?}"),
        }
    }
}
