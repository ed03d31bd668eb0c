//! How far this sink has got, and what was decided on the way, kept beside the rows and moved in their transaction.
//! `sink` is part of the key: two sinks may be the same database, and each has its own lane.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row};

use super::connection::Session;
use super::errors::Failure;
use super::{catalogue, history};
use crate::commit::lanes;
use crate::outcome::Code;
use crate::sinks::sql::letters::storable;
use crate::sinks::{Lane, SinkBatch, Span, StoredVerdict};

/// The tables. Half of each page stays free, so that moving an offset stays within its page.
const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS wasmill.progress (consumer_group text, topic text, topic_id text, \"partition\" int, sink text, \
  next_offset bigint NOT NULL, module_digest text NOT NULL, \
  PRIMARY KEY (consumer_group, topic, topic_id, \"partition\", sink)) WITH (fillfactor=50); \
CREATE TABLE IF NOT EXISTS wasmill.verdict (consumer_group text, topic text, topic_id text, \"partition\" int, \"offset\" bigint, \
  path text, sink text, kept_by text, target text NOT NULL, stage text NOT NULL, code text NOT NULL, message text NOT NULL, \
  module text NOT NULL, PRIMARY KEY (consumer_group, topic, topic_id, \"partition\", \"offset\", path, sink, kept_by))";

const EXIST: &str =
    "SELECT 1 WHERE to_regclass('wasmill.progress') IS NOT NULL AND to_regclass('wasmill.verdict') IS NOT NULL";

/// Which of schema, tables and history are there, and what may be done about those that are not. Asked first: `CREATE …
/// IF NOT EXISTS` needs the right to create even where nothing is created.
const LOOK: &str = "SELECT to_regnamespace('wasmill') IS NOT NULL, \
to_regclass('wasmill.progress') IS NOT NULL AND to_regclass('wasmill.verdict') IS NOT NULL, \
(SELECT has_table_privilege(c, 'SELECT') AND has_table_privilege(c, 'INSERT') AND has_table_privilege(c, 'UPDATE') \
  AND has_table_privilege(c, 'DELETE') FROM (SELECT to_regclass('wasmill.module_history')::oid AS c) t WHERE c IS NOT NULL), \
(SELECT has_schema_privilege(n, 'CREATE') FROM (SELECT to_regnamespace('wasmill')::oid AS n) t WHERE n IS NOT NULL)";

const LANES: &str = "SELECT s.place, p.next_offset, p.module_digest \
FROM unnest($3::text[], $4::text[], $5::int4[]) WITH ORDINALITY AS s(topic, topic_id, part, place) \
JOIN wasmill.progress p ON p.consumer_group = $1 AND p.sink = $2 AND p.topic = s.topic AND p.topic_id = s.topic_id AND p.\"partition\" = s.part";

/// Every host locks in the same order, so that two never wait for each other.
const LOCKED: &str = " ORDER BY p.topic, p.topic_id, p.\"partition\" FOR UPDATE OF p";

const BEGIN_AT: &str = "INSERT INTO wasmill.progress (consumer_group, sink, topic, topic_id, \"partition\", next_offset, module_digest) \
SELECT $1, $2, s.topic, s.topic_id, s.part, s.start, '' \
FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[]) AS s(topic, topic_id, part, start) \
ORDER BY 3, 4, 5 ON CONFLICT DO NOTHING";

/// Compare and set; verdicts that no replay can ask for any more go in the same round trip.
const ADVANCE: &str = "WITH s AS (SELECT * FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[], $7::int8[], $8::int8[], $9::text[]) \
  AS s(topic, topic_id, part, settled, cur, next, digest)), \
gone AS (DELETE FROM wasmill.verdict v USING s WHERE v.consumer_group = $1 AND v.kept_by = $2 AND v.topic = s.topic \
  AND v.topic_id = s.topic_id AND v.\"partition\" = s.part AND v.\"offset\" < s.settled) \
UPDATE wasmill.progress p SET next_offset = s.next, module_digest = s.digest FROM s \
WHERE p.consumer_group = $1 AND p.sink = $2 AND p.topic = s.topic AND p.topic_id = s.topic_id AND p.\"partition\" = s.part \
  AND p.next_offset = s.cur";

/// Moves the rows to the starts of their spans, whatever they were, and forgets all verdicts.
const RESET: &str = "WITH s AS (SELECT * FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[]) AS s(topic, topic_id, part, start)), \
gone AS (DELETE FROM wasmill.verdict v USING s WHERE v.consumer_group = $1 AND v.kept_by = $2 AND v.topic = s.topic \
  AND v.topic_id = s.topic_id AND v.\"partition\" = s.part) \
UPDATE wasmill.progress p SET next_offset = s.start, module_digest = '' FROM s \
WHERE p.consumer_group = $1 AND p.sink = $2 AND p.topic = s.topic AND p.topic_id = s.topic_id AND p.\"partition\" = s.part";

const KEEP: &str = "INSERT INTO wasmill.verdict (consumer_group, kept_by, topic, topic_id, \"partition\", \"offset\", path, sink, \
  target, stage, code, message, module) \
SELECT $1, $2, s.* FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[], $7::text[], $8::text[], $9::text[], $10::text[], \
  $11::text[], $12::text[], $13::text[]) AS s ON CONFLICT DO NOTHING";

const KEPT: &str = "SELECT s.place, v.\"offset\", v.path, v.stage, v.code, v.message, v.module, v.sink, v.target \
FROM unnest($3::text[], $4::text[], $5::int4[], $6::int8[], $7::int8[]) WITH ORDINALITY AS s(topic, topic_id, part, start, cur, place) \
JOIN wasmill.verdict v ON v.consumer_group = $1 AND v.kept_by = $2 AND v.topic = s.topic AND v.topic_id = s.topic_id \
  AND v.\"partition\" = s.part AND v.\"offset\" >= s.start AND v.\"offset\" < s.cur \
ORDER BY s.place, v.\"offset\", v.path, v.sink";

/// Whose progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) group: &'a str,
    pub(super) sink: &'a str,
}

impl Owner<'_> {
    /// Creates the tables where they are missing. Returns whether the history of modules can be kept, which is not worth
    /// an error: a user who may not create it, or not write to it, goes without.
    pub(super) async fn ensure(session: &mut Session) -> Result<bool, Failure> {
        let rows = session.fetch(LOOK, PgArguments::default()).await?;
        let row = rows.first().ok_or(Failure::Sqlx(sqlx::Error::RowNotFound))?;
        let (schema, tables): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        let (history, may_create): (Option<bool>, Option<bool>) = (row.try_get(2)?, row.try_get(3)?);
        if !tables {
            let schema = if schema { "" } else { "CREATE SCHEMA IF NOT EXISTS wasmill; " };
            catalogue::create_own(session, &format!("{schema}{TABLES}")).await?;
        }
        match (history, may_create) {
            (Some(usable), _) => Ok(usable),
            // A schema of our own making.
            (None, Some(true) | None) => {
                let created = catalogue::create_own(session, history::TABLE).await;
                let Err(cause) = created else { return Ok(true) };
                tracing::warn!(
                    "no history of modules: {}",
                    cause.sink_error("wasmill.module_history cannot be created")
                );
                session.run("ROLLBACK").await?;
                Ok(false)
            }
            (None, Some(false)) => Ok(false),
        }
    }

    /// The stored lanes; `None` per span without one. Also where the tables do not exist yet.
    pub(super) async fn lanes(self, session: &mut Session, spans: &[Span]) -> Result<Vec<Option<Lane>>, Failure> {
        let mut lanes = vec![None; spans.len()];
        if session.fetch(EXIST, PgArguments::default()).await?.is_empty() {
            return Ok(lanes);
        }
        for row in session.fetch(LANES, self.bind(spans)?).await? {
            lanes[place(&row)?] = Some(Lane { next_offset: row.try_get(1)?, digest: row.try_get(2)? });
        }
        Ok(lanes)
    }

    /// Locks the rows of all spans and returns them; a missing one begins at its span's start.
    pub(super) async fn lock(self, session: &mut Session, spans: &[Span]) -> Result<Vec<Lane>, Failure> {
        let mut found = self.try_lock(session, spans).await?;
        if found.iter().any(Option::is_none) {
            let mut arguments = self.bind(spans)?;
            push(&mut arguments, starts(spans))?;
            session.execute(BEGIN_AT, arguments).await?;
            found = self.try_lock(session, spans).await?;
        }
        let lost = || Failure::Sqlx(sqlx::Error::RowNotFound);
        found.into_iter().map(|lane| lane.ok_or_else(lost)).collect()
    }

    /// Moves the rows from `found` to the ends of their spans. `false` where one was not at `found` any more.
    pub(super) async fn advance(
        self,
        session: &mut Session,
        batch: &SinkBatch,
        found: &[i64],
    ) -> Result<bool, Failure> {
        let settled = batch.settled();
        let spans = || batch.spans.iter().enumerate();
        let due: Vec<(usize, i64)> =
            spans().filter_map(|(i, span)| Some((i, lanes::advanced(span, found[i])?))).collect();
        if due.is_empty() {
            return Ok(true);
        }
        let of_due = |values: &[i64]| -> Vec<i64> { due.iter().map(|(i, _)| values[*i]).collect() };
        let moved: Vec<Span> = due.iter().map(|(i, _)| batch.spans[*i].clone()).collect();
        let mut arguments = self.bind(&moved)?;
        push(&mut arguments, of_due(&settled))?;
        push(&mut arguments, of_due(found))?;
        push(&mut arguments, due.iter().map(|(_, next)| *next).collect::<Vec<_>>())?;
        push(&mut arguments, moved.iter().map(|s| s.digest.to_string()).collect::<Vec<_>>())?;
        Ok(session.execute(ADVANCE, arguments).await? == due.len() as u64)
    }

    /// Moves what is stored to the starts of the spans; where nothing is stored, nothing is.
    pub(super) async fn reset(self, session: &mut Session, spans: &[Span]) -> Result<(), Failure> {
        if session.fetch(EXIST, PgArguments::default()).await?.is_empty() {
            return Ok(());
        }
        let mut arguments = self.bind(spans)?;
        push(&mut arguments, starts(spans))?;
        session.execute(RESET, arguments).await?;
        Ok(())
    }

    /// Stores verdicts; one that is there already stays: the first decision counts.
    pub(super) async fn keep(
        self,
        session: &mut Session,
        spans: &[Span],
        verdicts: &[StoredVerdict],
    ) -> Result<(), Failure> {
        if verdicts.is_empty() {
            return Ok(());
        }
        let own: Vec<Span> = verdicts.iter().map(|v| spans[v.span].clone()).collect();
        let mut arguments = self.bind(&own)?;
        push(&mut arguments, verdicts.iter().map(|v| v.offset).collect::<Vec<i64>>())?;
        let fields: [fn(&StoredVerdict) -> &str; 7] =
            [|v| &v.path, |v| &v.sink, |v| &v.target, |v| &v.stage, |v| v.code.as_str(), |v| &v.message, |v| &v.module];
        for field in fields {
            push(&mut arguments, verdicts.iter().map(|v| storable(field(v))).collect::<Vec<_>>())?;
        }
        session.execute(KEEP, arguments).await?;
        Ok(())
    }

    /// What earlier attempts decided for the offsets from each span's start up to `found`.
    pub(super) async fn kept(
        self,
        session: &mut Session,
        spans: &[Span],
        found: &[i64],
    ) -> Result<Vec<StoredVerdict>, Failure> {
        let ranges: Vec<_> = spans.iter().zip(found).map(|(span, cur)| lanes::decided(span, *cur)).collect();
        if ranges.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let mut arguments = self.bind(spans)?;
        push(&mut arguments, starts(spans))?;
        let until = ranges.into_iter().zip(spans).map(|(range, span)| range.map_or(span.start, |range| range.end));
        let until: Vec<i64> = until.collect();
        push(&mut arguments, until)?;
        let rows = session.fetch(KEPT, arguments).await?;
        let verdict = |row| -> Result<StoredVerdict, Failure> {
            Ok(StoredVerdict {
                span: place(row)?,
                offset: row.try_get(1)?,
                path: row.try_get(2)?,
                stage: row.try_get(3)?,
                code: Code::from_stored(row.try_get(4)?),
                message: row.try_get(5)?,
                module: row.try_get(6)?,
                sink: row.try_get(7)?,
                target: row.try_get(8)?,
            })
        };
        rows.iter().map(verdict).collect()
    }

    async fn try_lock(self, session: &mut Session, spans: &[Span]) -> Result<Vec<Option<Lane>>, Failure> {
        let mut found = vec![None; spans.len()];
        for row in session.fetch(&format!("{LANES}{LOCKED}"), self.bind(spans)?).await? {
            found[place(&row)?] = Some(Lane { next_offset: row.try_get(1)?, digest: row.try_get(2)? });
        }
        Ok(found)
    }

    /// `$1` to `$5`: group, sink, topics, topic ids, partitions.
    pub(super) fn bind(self, spans: &[Span]) -> Result<PgArguments, Failure> {
        let mut arguments = PgArguments::default();
        push(&mut arguments, self.group)?;
        push(&mut arguments, self.sink)?;
        push(&mut arguments, spans.iter().map(|s| s.topic.to_string()).collect::<Vec<_>>())?;
        push(&mut arguments, spans.iter().map(|s| s.topic_id.to_string()).collect::<Vec<_>>())?;
        push(&mut arguments, spans.iter().map(|s| s.partition).collect::<Vec<i32>>())?;
        Ok(arguments)
    }
}

/// Binds one value.
pub(super) fn push<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), Failure>
where
    T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    arguments.add(value).map_err(|e| Failure::Sqlx(sqlx::Error::Encode(e)))
}

fn starts(spans: &[Span]) -> Vec<i64> {
    spans.iter().map(|s| s.start).collect()
}

/// The span that a row belongs to.
fn place(row: &sqlx::postgres::PgRow) -> Result<usize, Failure> {
    let place: i64 = row.try_get(0)?;
    Ok(usize::try_from(place - 1).unwrap_or_default())
}
