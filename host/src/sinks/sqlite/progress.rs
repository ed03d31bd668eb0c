//! Progress and verdicts beside the rows, as in PostgreSQL. The file has one writer at a time, so nothing is locked here
//! beyond the transaction.

use sqlx::{Row, SqliteConnection};

use super::errors::Failure;
use super::{history, run};
use crate::commit::lanes;
use crate::outcome::Code;
use crate::sinks::{Lane, SinkBatch, Span, StoredVerdict};

const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS wasmill_progress (consumer_group TEXT, topic TEXT, topic_id TEXT, \"partition\" INTEGER, sink TEXT, \
  next_offset INTEGER NOT NULL, module_digest TEXT NOT NULL, \
  PRIMARY KEY (consumer_group, topic, topic_id, \"partition\", sink)) WITHOUT ROWID; \
CREATE TABLE IF NOT EXISTS wasmill_verdict (consumer_group TEXT, topic TEXT, topic_id TEXT, \"partition\" INTEGER, \"offset\" INTEGER, \
  path TEXT, sink TEXT, kept_by TEXT, target TEXT NOT NULL, stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, \
  module TEXT NOT NULL, PRIMARY KEY (consumer_group, topic, topic_id, \"partition\", \"offset\", path, sink, kept_by)) WITHOUT ROWID";

/// The lane of `?1` to `?5`.
const LANE: &str = "SELECT next_offset, module_digest FROM wasmill_progress \
WHERE consumer_group = ?1 AND sink = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5";

const BEGIN_AT: &str = "INSERT INTO wasmill_progress (consumer_group, sink, topic, topic_id, \"partition\", next_offset, module_digest) \
VALUES (?1, ?2, ?3, ?4, ?5, ?6, '') ON CONFLICT DO NOTHING";

const ADVANCE: &str = "UPDATE wasmill_progress SET next_offset = ?6, module_digest = ?7 \
WHERE consumer_group = ?1 AND sink = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5 AND next_offset = ?8";

const CLEAR: &str = "DELETE FROM wasmill_verdict \
WHERE consumer_group = ?1 AND kept_by = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5 AND \"offset\" < ?6";

const RESET: &str = "UPDATE wasmill_progress SET next_offset = ?6, module_digest = '' \
WHERE consumer_group = ?1 AND sink = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5";

const FORGET: &str = "DELETE FROM wasmill_verdict \
WHERE consumer_group = ?1 AND kept_by = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5";

const KEEP: &str = "INSERT INTO wasmill_verdict (consumer_group, kept_by, topic, topic_id, \"partition\", \"offset\", path, sink, \
target, stage, code, message, module) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING";

const KEPT: &str = "SELECT \"offset\", path, stage, code, message, module, sink, target FROM wasmill_verdict \
WHERE consumer_group = ?1 AND kept_by = ?2 AND topic = ?3 AND topic_id = ?4 AND \"partition\" = ?5 AND \"offset\" >= ?6 AND \"offset\" < ?7 \
ORDER BY \"offset\", path, sink";

/// Whose progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) group: &'a str,
    pub(super) sink: &'a str,
}

impl Owner<'_> {
    pub(super) async fn ensure(connection: &mut SqliteConnection) -> Result<(), Failure> {
        run(connection, &format!("{TABLES}; {}", history::TABLE)).await
    }

    pub(super) async fn lanes(
        self,
        connection: &mut SqliteConnection,
        spans: &[Span],
    ) -> Result<Vec<Option<Lane>>, Failure> {
        let exists = "SELECT 1 FROM sqlite_schema WHERE name = 'wasmill_progress'";
        if sqlx::query(exists).fetch_optional(&mut *connection).await?.is_none() {
            return Ok(vec![None; spans.len()]);
        }
        let mut lanes = Vec::with_capacity(spans.len());
        for span in spans {
            let row = self.bind(LANE, span).fetch_optional(&mut *connection).await?;
            let lane = |row: sqlx::sqlite::SqliteRow| -> Result<Lane, Failure> {
                Ok(Lane { next_offset: row.try_get(0)?, digest: row.try_get(1)? })
            };
            lanes.push(row.map(lane).transpose()?);
        }
        Ok(lanes)
    }

    /// The lanes of all spans; a missing one begins at its span's start.
    pub(super) async fn found(self, connection: &mut SqliteConnection, spans: &[Span]) -> Result<Vec<Lane>, Failure> {
        let mut found = Vec::with_capacity(spans.len());
        for span in spans {
            self.bind(BEGIN_AT, span).bind(span.start).execute(&mut *connection).await?;
            let row = self.bind(LANE, span).fetch_one(&mut *connection).await?;
            found.push(Lane { next_offset: row.try_get(0)?, digest: row.try_get(1)? });
        }
        Ok(found)
    }

    /// Moves the lanes from `found` to the ends of their spans. `false` where one was not at `found` any more.
    pub(super) async fn advance(
        self,
        connection: &mut SqliteConnection,
        batch: &SinkBatch,
        found: &[i64],
    ) -> Result<bool, Failure> {
        for ((span, cur), settled) in batch.spans.iter().zip(found).zip(batch.settled()) {
            let Some(next) = lanes::advanced(span, *cur) else { continue };
            self.bind(CLEAR, span).bind(settled).execute(&mut *connection).await?;
            let update = self.bind(ADVANCE, span).bind(next).bind(span.digest.to_string()).bind(*cur);
            if update.execute(&mut *connection).await?.rows_affected() != 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves what is stored to the starts of the spans; where nothing is stored, nothing is.
    pub(super) async fn reset(self, connection: &mut SqliteConnection, spans: &[Span]) -> Result<(), Failure> {
        run(connection, TABLES).await?;
        run(connection, "BEGIN IMMEDIATE").await?;
        for span in spans {
            self.bind(RESET, span).bind(span.start).execute(&mut *connection).await?;
            self.bind(FORGET, span).execute(&mut *connection).await?;
        }
        run(connection, "COMMIT").await
    }

    pub(super) async fn keep(
        self,
        connection: &mut SqliteConnection,
        spans: &[Span],
        verdicts: &[StoredVerdict],
    ) -> Result<(), Failure> {
        for v in verdicts {
            let query = self.bind(KEEP, &spans[v.span]).bind(v.offset).bind(&v.path).bind(&v.sink).bind(&v.target);
            let query = query.bind(&v.stage).bind(v.code.as_str()).bind(&v.message).bind(&v.module);
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// What earlier attempts decided for the offsets from each span's start up to `found`.
    pub(super) async fn kept(
        self,
        connection: &mut SqliteConnection,
        spans: &[Span],
        found: &[i64],
    ) -> Result<Vec<StoredVerdict>, Failure> {
        let mut kept = Vec::new();
        for (index, (span, cur)) in spans.iter().zip(found).enumerate() {
            let Some(range) = lanes::decided(span, *cur) else { continue };
            let rows = self.bind(KEPT, span).bind(range.start).bind(range.end).fetch_all(&mut *connection).await?;
            for row in rows {
                kept.push(StoredVerdict {
                    span: index,
                    offset: row.try_get(0)?,
                    path: row.try_get(1)?,
                    stage: row.try_get(2)?,
                    code: Code::from_stored(row.try_get(3)?),
                    message: row.try_get(4)?,
                    module: row.try_get(5)?,
                    sink: row.try_get(6)?,
                    target: row.try_get(7)?,
                });
            }
        }
        Ok(kept)
    }

    /// A statement with `?1` to `?5` bound: group, sink, topic, topic id, partition.
    pub(super) fn bind(
        self,
        sql: &'static str,
        span: &Span,
    ) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
        sqlx::query(sql)
            .bind(self.group.to_owned())
            .bind(self.sink.to_owned())
            .bind(span.topic.to_string())
            .bind(span.topic_id.to_string())
            .bind(span.partition)
    }
}
