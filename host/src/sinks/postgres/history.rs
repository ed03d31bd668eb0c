//! `wasmill.module_history`: see [`crate::sinks::sql::history`].

use sqlx::Row;
use sqlx::postgres::PgArguments;

use super::connection::Session;
use super::errors::Failure;
use super::progress::{Owner, push};
use crate::sinks::sql::history::changes;
use crate::sinks::{InForce, Lane, Span};

/// The table.
pub(super) const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS wasmill.module_history (consumer_group text, sink text, topic text, topic_id text, \"partition\" int, \
  from_offset bigint, module_digest text NOT NULL, since timestamptz NOT NULL DEFAULT now(), \
  PRIMARY KEY (consumer_group, sink, topic, topic_id, \"partition\", from_offset))";

/// What comes behind was written before the partition went back, and does not hold any more.
const NOTE: &str = "WITH s AS (SELECT * FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[], $7::text[]) \
  AS s(topic, topic_id, part, begun, digest)), \
gone AS (DELETE FROM wasmill.module_history h USING s WHERE h.consumer_group = $1 AND h.sink = $2 AND h.topic = s.topic \
  AND h.topic_id = s.topic_id AND h.\"partition\" = s.part AND h.from_offset > s.begun) \
INSERT INTO wasmill.module_history (consumer_group, sink, topic, topic_id, \"partition\", from_offset, module_digest) \
SELECT $1, $2, s.topic, s.topic_id, s.part, s.begun, s.digest FROM s \
ON CONFLICT (consumer_group, sink, topic, topic_id, \"partition\", from_offset) \
DO UPDATE SET module_digest = excluded.module_digest, since = excluded.since";

const EXISTS: &str = "SELECT 1 WHERE to_regclass('wasmill.module_history') IS NOT NULL";

const READ: &str = "SELECT topic, topic_id, \"partition\", from_offset, module_digest, (extract(epoch FROM since) * 1000)::int8 \
FROM wasmill.module_history WHERE consumer_group = $1 AND sink = $2 \
ORDER BY since DESC, topic, topic_id, \"partition\", from_offset DESC LIMIT $3";

impl Owner<'_> {
    /// Notes where other modules come into force with a batch whose lanes were `found`; mostly nowhere.
    pub(super) async fn note_changes(
        self,
        session: &mut Session,
        spans: &[Span],
        found: &[Lane],
    ) -> Result<(), Failure> {
        let changes = changes(spans, found);
        if changes.is_empty() {
            return Ok(());
        }
        let changed: Vec<Span> = changes.iter().map(|change| change.span.clone()).collect();
        let mut arguments = self.bind(&changed)?;
        push(&mut arguments, changes.iter().map(|change| change.from).collect::<Vec<i64>>())?;
        push(&mut arguments, changed.iter().map(|span| span.digest.to_string()).collect::<Vec<_>>())?;
        session.execute(NOTE, arguments).await?;
        Ok(())
    }

    /// The newest changes; none where none were kept.
    pub(super) async fn changes(self, session: &mut Session, most: usize) -> Result<Vec<InForce>, Failure> {
        if session.fetch(EXISTS, PgArguments::default()).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments = PgArguments::default();
        push(&mut arguments, self.group)?;
        push(&mut arguments, self.sink)?;
        push(&mut arguments, i64::try_from(most).unwrap_or(i64::MAX))?;
        let rows = session.fetch(READ, arguments).await?;
        let change = |row: &sqlx::postgres::PgRow| -> Result<InForce, Failure> {
            Ok(InForce {
                topic: row.try_get(0)?,
                topic_id: row.try_get(1)?,
                partition: row.try_get(2)?,
                from: row.try_get(3)?,
                digest: row.try_get(4)?,
                since: row.try_get(5)?,
            })
        };
        rows.iter().map(change).collect()
    }
}
