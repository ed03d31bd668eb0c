//! `wasmill_module_history`: see [`crate::sinks::sql::history`].

use sqlx::{Row, SqliteConnection};

use super::errors::Failure;
use super::progress::Owner;
use crate::sinks::sql::history::changes;
use crate::sinks::{InForce, Lane, Span};

/// The table. `since` is in milliseconds since 1970.
pub(super) const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS wasmill_module_history (consumer_group TEXT, sink TEXT, topic TEXT, topic_id TEXT, \"partition\" INTEGER, \
  from_offset INTEGER, module_digest TEXT NOT NULL, since INTEGER NOT NULL, \
  PRIMARY KEY (consumer_group, sink, topic, topic_id, \"partition\", from_offset)) WITHOUT ROWID";

/// What comes behind was written before the partition went back, and does not hold any more.
const FORGET: &str = "DELETE FROM wasmill_module_history \
WHERE consumer_group = ?1 AND sink = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5 AND from_offset >= ?6";

const NOTE: &str = "INSERT INTO wasmill_module_history (consumer_group, sink, topic, topic_id, \"partition\", from_offset, \
module_digest, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))";

const EXISTS: &str = "SELECT 1 FROM sqlite_schema WHERE name = 'wasmill_module_history'";

const READ: &str = "SELECT topic, topic_id, \"partition\", from_offset, module_digest, since FROM wasmill_module_history \
WHERE consumer_group = ?1 AND sink = ?2 ORDER BY since DESC, topic, topic_id, \"partition\", from_offset DESC LIMIT ?3";

impl Owner<'_> {
    /// Notes where other modules come into force with a batch whose lanes were `found`; mostly nowhere.
    pub(super) async fn note_changes(
        self,
        connection: &mut SqliteConnection,
        spans: &[Span],
        found: &[Lane],
    ) -> Result<(), Failure> {
        for change in changes(spans, found) {
            self.bind(FORGET, change.span).bind(change.from).execute(&mut *connection).await?;
            let note = self.bind(NOTE, change.span).bind(change.from).bind(change.span.digest.to_string());
            note.execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// The newest changes; none where none were kept.
    pub(super) async fn changes(self, connection: &mut SqliteConnection, most: usize) -> Result<Vec<InForce>, Failure> {
        if sqlx::query(EXISTS).fetch_optional(&mut *connection).await?.is_none() {
            return Ok(Vec::new());
        }
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let query = sqlx::query(READ).bind(self.group.to_owned()).bind(self.sink.to_owned()).bind(most);
        let change = |row: &sqlx::sqlite::SqliteRow| -> Result<InForce, Failure> {
            Ok(InForce {
                topic: row.try_get(0)?,
                topic_id: row.try_get(1)?,
                partition: row.try_get(2)?,
                from: row.try_get(3)?,
                digest: row.try_get(4)?,
                since: row.try_get(5)?,
            })
        };
        query.fetch_all(&mut *connection).await?.iter().map(change).collect()
    }
}
