//! The connection to the server: made at first use, and every call ends in bounded time. Nothing that is said here
//! holds the URL.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use mongodb::error::{Error, Result as MongoResult};
use mongodb::options::{ClientOptions, ConnectionString};
use tokio::sync::OnceCell;

use super::errors::{self, Verdict};
use super::plan::Namespace;
use crate::config::Secret;
use crate::sinks::SinkError;

/// Time until a server must be found, and for each step of a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for one call, with the time that the server itself takes to give up a write.
const CALL: Duration = Duration::from_secs(30);

/// Ids that are looked up in one go.
const LOOK_UP: usize = 500;

/// Between two removals of old guards.
const PURGE: Duration = Duration::from_secs(3600);

/// A server or replica set.
pub(super) struct Server {
    /// The sink's name, for people.
    sink: String,
    url: Secret,
    hosts: String,
    client: OnceCell<Client>,
    two_steps: OnceCell<bool>,
    /// When old guards were last removed.
    purged: Mutex<Instant>,
}

/// Why a call failed.
pub(super) enum CallError {
    Server(Error),
    /// No answer in time.
    Silent,
}

impl Server {
    /// Reads the URL; connects to nothing.
    pub(super) fn new(sink: &str, url: &Secret) -> Result<Self, String> {
        let parsed = ConnectionString::parse(url.expose())
            // The driver's words can quote a part of the URL.
            .map_err(|_| "no valid MongoDB URL; write mongodb://user:password@host:port/".to_owned())?;
        let hosts = match parsed.host_info {
            mongodb::options::HostInfo::HostIdentifiers(hosts) => {
                hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            mongodb::options::HostInfo::DnsRecord(name) => name,
            _ => "its hosts".into(),
        };
        Ok(Server {
            sink: sink.to_owned(),
            url: url.clone(),
            hosts,
            client: OnceCell::new(),
            two_steps: OnceCell::new(),
            purged: Mutex::new(Instant::now()),
        })
    }

    /// The sink's name.
    pub(super) fn name(&self) -> &str {
        &self.sink
    }

    /// Whether it is time to remove old guards again; says so once.
    pub(super) fn is_purge_due(&self) -> bool {
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = purged.elapsed() > PURGE;
        if due {
            *purged = Instant::now();
        }
        due
    }

    /// Runs a command.
    pub(super) async fn run(&self, database: &str, command: RawDocumentBuf) -> Result<Document, CallError> {
        let call = async { self.client().await?.database(database).run_raw_command(command).await };
        bounded(call).await
    }

    /// The documents with these ids. FerretDB finds by one `_id` through its index, by several through the whole collection.
    pub(super) async fn find(&self, namespace: &Namespace, ids: &[Bson]) -> Result<Vec<RawDocumentBuf>, CallError> {
        let at_once = if self.writes_in_two_steps().await? { 1 } else { LOOK_UP };
        let mut found = Vec::new();
        for ids in ids.chunks(at_once) {
            let filter = match ids {
                [id] => doc! { "_id": id },
                ids => doc! { "_id": { "$in": ids } },
            };
            let call = async {
                let database = self.client().await?.database(&namespace.database);
                let mut cursor = database.collection::<RawDocumentBuf>(&namespace.collection).find(filter).await?;
                while cursor.advance().await? {
                    found.push(cursor.current().to_owned());
                }
                Ok(())
            };
            bounded(call).await?;
        }
        Ok(found)
    }

    /// Whether nothing but `_id` is unique in the collection; no where the server does not say. For servers that do not
    /// tell which index a duplicate key violates: looking up thousands of ids takes some of them minutes.
    pub(super) async fn only_ids_are_unique(&self, namespace: &Namespace) -> bool {
        let call = async {
            let database = self.client().await?.database(&namespace.database);
            let mut cursor = database.collection::<Document>(&namespace.collection).list_indexes().await?;
            while cursor.advance().await? {
                let index = cursor.deserialize_current()?;
                let unique = index.options.is_some_and(|options| options.unique == Some(true));
                if unique && !index.keys.keys().eq(["_id"]) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        bounded(call).await.unwrap_or(false)
    }

    /// Whether the server finds a document and changes it in two steps, between which another writer's change is lost:
    /// FerretDB 1. It also looks through the whole collection where more than the `_id` is compared.
    pub(super) async fn writes_in_two_steps(&self) -> Result<bool, CallError> {
        let asked = || async {
            let info = self.run("admin", rawdoc! { "buildInfo": 1 }).await?;
            Ok(super::examine::ferretdb(&info).is_some_and(|own| !own.trim_start_matches('v').starts_with("2.")))
        };
        self.two_steps.get_or_try_init(asked).await.copied()
    }

    /// Whether the collection exists.
    pub(super) async fn has(&self, namespace: &Namespace) -> Result<bool, CallError> {
        let call = async {
            let database = self.client().await?.database(&namespace.database);
            let names = database.list_collection_names().filter(doc! { "name": &namespace.collection }).await?;
            Ok(names.contains(&namespace.collection))
        };
        bounded(call).await
    }

    /// The error of a call as the flow hears it: what was attempted, where, why, and what to do.
    pub(super) fn error(&self, what: &str, error: &CallError) -> SinkError {
        let Server { sink, hosts, .. } = self;
        match error {
            CallError::Silent => {
                let seconds = CALL.as_secs();
                SinkError::wait(format!("sink {sink}: could not {what} at {hosts}: no answer within {seconds} s"))
            }
            CallError::Server(error) => {
                let words = format!("sink {sink}: could not {what} at {hosts}: {}", error.kind);
                match errors::of_command(error) {
                    Verdict::Wait => SinkError::wait(words),
                    Verdict::Operator | Verdict::Data(_) => {
                        SinkError::operator(format!("{words}: {}", errors::advice(errors::code(error))))
                    }
                }
            }
        }
    }

    async fn client(&self) -> MongoResult<&Client> {
        self.client.get_or_try_init(|| connect(self.url.expose())).await
    }
}

async fn connect(url: &str) -> MongoResult<Client> {
    let mut options = ClientOptions::parse(url).await?;
    options.app_name.get_or_insert_with(|| "wasmill".into());
    options.server_selection_timeout.get_or_insert(CONNECT);
    options.connect_timeout.get_or_insert(CONNECT);
    Client::with_options(options)
}

async fn bounded<T>(call: impl Future<Output = MongoResult<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(result) => result.map_err(CallError::Server),
        Err(_) => Err(CallError::Silent),
    }
}
