//! Where the services are. `make test` starts them and says so in the environment; nothing is started from here.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::Runtime;

/// `host:port,…` of the Kafka cluster.
pub fn brokers() -> String {
    variable("KAFKA_BROKERS")
}

/// URL of a Postgres database in which databases may be created.
pub fn postgres_url() -> String {
    variable("POSTGRES_URL")
}

/// URL of the MongoDB server that is closest to the real one.
pub fn mongodb_url() -> String {
    variable("MONGODB_URL")
}

/// URL of the MongoDB server that takes a hundred thousand documents in a few seconds.
pub fn mongodb_volume_url() -> String {
    std::env::var("MONGODB_VOLUME_URL").unwrap_or_else(|_| mongodb_url())
}

/// What stands in for variables in this process.
static REPLACED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// From now on the helpers of this process use another service.
pub fn replace(name: &str, value: String) {
    REPLACED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value);
}

/// A variable that `make test` sets.
pub fn variable(name: &str) -> String {
    if let Some(replaced) = REPLACED.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
        return replaced.clone();
    }
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: `make test` starts the services and sets it; for a single test start them with \
                `tests/services/services.sh up DIR` and export the lines that it prints"
        )
    })
}

/// Waits for a future on the one runtime of the test binary: the drivers' background tasks live there.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a tokio runtime")
    });
    runtime.block_on(future)
}
