//! Finds the document on which a server closes the connection while it takes others. It is named, and waited for: a
//! broken connection is no proof against a document, so none of them ever becomes a dead letter for it.

use mongodb::bson::rawdoc;
use mongodb::error::ErrorKind;

use super::plan::{Op, Run};
use super::server::CallError;
use super::write::Write;
use crate::sinks::SinkError;

impl Write<'_> {
    /// What to say after the connection broke under these operations: what they did is repeated with the batch.
    pub(super) async fn isolate(&self, run: &Run, ops: &[Op], error: CallError) -> SinkError {
        let mut suspects = ops;
        while suspects.len() > 1 && self.is_up().await {
            let (first, second) = suspects.split_at(suspects.len() / 2);
            suspects = match self.command(run, first).await {
                Ok(_) => second,
                Err(error) if is_broken(&error) => first,
                Err(error) => return self.failed(run, &error),
            };
        }
        let [op] = suspects else { return self.failed(run, &error) };
        // Once may be an accident, also of the network.
        for _ in 0..2 {
            match self.command(run, suspects).await {
                Err(error) if is_broken(&error) && self.is_up().await => {}
                _ => return self.failed(run, &error),
            }
        }
        let item = &self.batch.items[op.item];
        let span = &self.batch.spans[item.span];
        let (sink, namespace) = (self.server.name(), &run.namespace);
        SinkError::operator(format!(
            "sink {sink}: the server closes the connection on the document of {}/{}/{} for {namespace} and takes others; it is \
             tried again, since that may be the server's fault: mend the server, or have the module skip or change the record",
            span.topic, span.partition, item.offset
        ))
    }

    async fn is_up(&self) -> bool {
        self.server.run("admin", rawdoc! { "ping": 1 }).await.is_ok()
    }
}

/// Whether the connection ended instead of an answer.
pub(super) fn is_broken(error: &CallError) -> bool {
    match error {
        CallError::Server(error) => matches!(&*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }),
        CallError::Silent => false,
    }
}
