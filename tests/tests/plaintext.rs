//! What nothing protects on its way stays on this machine or in a private network, unless that was asked for.

use wasmill_tests::Case;
use wasmill_tests::host::{Finished, wasmill};

/// TEST-NET-3: nobody's, so nothing is sent to anybody.
const PUBLIC: &str = "203.0.113.7";

fn run(command: &str, config: &str) -> Finished {
    let case = Case::new("plaintext");
    let file = case.path().join("wasmill.toml");
    std::fs::write(&file, config).expect("the configuration can be written");
    wasmill(&[command, "-c", &file.to_string_lossy()], case.path(), &[("RUST_BACKTRACE".into(), "1".into())])
}

fn config(kafka: &str, sinks: &str) -> String {
    format!("[kafka]\n{kafka}\n[modules]\ndir = \"modules\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{sinks}\n")
}

#[test]
fn brokers_beyond_private_networks_are_refused_without_tls() {
    let kafka = format!("brokers = \"localhost:9092,{PUBLIC}:9092\"");
    let password = "\"sasl.password\" = \"a-secret\"\n\"sasl.username\" = \"u\"";
    let sasl = format!("{kafka}\n[kafka.properties]\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n{password}");
    for (command, kafka) in [("run", &kafka), ("run", &sasl), ("check", &kafka), ("doctor", &kafka)] {
        let refused = run(command, &config(kafka, ""));
        let words = format!("{}{}", refused.stderr, refused.stdout);
        assert_eq!(refused.code, 2, "{command}: {words}");
        for part in [PUBLIC, "kafka.brokers", "SASL_SSL", "allow_plaintext = true in [kafka]"] {
            assert!(words.contains(part), "{command} does not say {part}: {words}");
        }
        assert!(!words.contains("a-secret"), "{words}");
    }
}

#[test]
fn sinks_beyond_private_networks_are_refused_without_tls() {
    let urls =
        [format!("postgres://u:a-secret@{PUBLIC}/d?sslmode=prefer"), format!("mongodb://u:a-secret@{PUBLIC}:27017/")];
    for url in urls {
        let refused = run("run", &config("", &format!("[sinks.lake]\nurl = \"{url}\"")));
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        for part in [PUBLIC, "sinks.lake.url", "allow_plaintext = true in [sinks.lake]"] {
            assert!(refused.stderr.contains(part), "{part} is not said: {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("a-secret"), "{}", refused.stderr);
    }
}

#[test]
fn what_is_allowed_or_protected_is_not_refused_and_a_name_without_address_does_not_end_the_host() {
    let allowed = config(
        &format!("brokers = \"{PUBLIC}:9092\"\nallow_plaintext = true"),
        &format!("[sinks.lake]\nurl = \"mongodb://{PUBLIC}/\"\nallow_plaintext = true"),
    );
    let protected = config(
        &format!("brokers = \"{PUBLIC}:9092\"\n[kafka.properties]\n\"security.protocol\" = \"SSL\""),
        &format!(
            "[sinks.lake]\nurl = \"postgres://u@{PUBLIC}/d?sslmode=verify-full\"\n[sinks.other]\nurl = \"postgres://u@{PUBLIC}/d\""
        ),
    );
    let unknown = config("brokers = \"kafka.invalid:9092\"", "");
    for config in [&allowed, &protected, &unknown] {
        let case = Case::new("plaintext");
        let host = case.start_with(config);
        let ended = host.stop();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let said_so = ended.stderr.contains("kafka.invalid has no address");
        assert_eq!(said_so, std::ptr::eq(config, &unknown), "{}", ended.stderr);
    }
}
