//! Rows and progress in one transaction: an insert by UNNEST, or by COPY where `BENCH_NATIVE_ROWS` is `copy`, and the
//! upsert, of which only the last row of a key in the batch is sent.

use std::collections::HashMap;

use anyhow::Result;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use wasmill_tests::services::block_on;

use super::quote::Quote;
use super::source::Batch;

const INSERT: &str = "INSERT INTO bench_quotes (quotes, charact, imag) SELECT q, c, i \
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS x(q, c, i, ord) ORDER BY ord";
const COPY: &str = "COPY bench_quotes (quotes, charact, imag) FROM STDIN";
const UPSERT: &str = "INSERT INTO bench_latest (quotes, charact, imag) SELECT q, c, i \
    FROM unnest($1::text[], $2::text[], $3::text[]) AS x(q, c, i) \
    ON CONFLICT (imag) DO UPDATE SET quotes = excluded.quotes, charact = excluded.charact";
const PROGRESS: &str = "INSERT INTO progress SELECT $1, s.* FROM unnest($2::int4[], $3::int8[]) AS s(part, next) \
    ON CONFLICT (consumer_group, part) DO UPDATE SET next = excluded.next";
const TABLES: &str = "CREATE TABLE IF NOT EXISTS bench_quotes (quote_id SERIAL PRIMARY KEY, quotes varchar(500), \
    charact varchar(500), imag varchar(500)); \
    CREATE TABLE IF NOT EXISTS bench_latest (imag varchar(500) PRIMARY KEY, quotes varchar(500), charact varchar(500)); \
    CREATE TABLE IF NOT EXISTS progress (consumer_group text, part int4, next int8, PRIMARY KEY (consumer_group, part))";

/// How rows get into the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Unnest,
    Copy,
    Upsert,
}

pub(crate) struct Rows {
    connection: PgConnection,
    group: String,
    way: Way,
}

impl Rows {
    pub(crate) fn open(to: &str, group: &str) -> Result<Self> {
        let copies = std::env::var("BENCH_NATIVE_ROWS").is_ok_and(|way| way == "copy");
        let way = match copies {
            _ if to.contains("latest") => Way::Upsert,
            true => Way::Copy,
            false => Way::Unnest,
        };
        block_on(async {
            let mut connection = PgConnection::connect(&std::env::var("BENCH_POSTGRES_URL")?).await?;
            connection.execute(sqlx::raw_sql(TABLES)).await?;
            Ok(Rows { connection, group: group.into(), way })
        })
    }

    pub(crate) async fn write(&mut self, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<()> {
        let (partitions, next): (Vec<i32>, Vec<i64>) = batch.next().unzip();
        let mut transaction = self.connection.begin().await?;
        match self.way {
            Way::Copy => {
                let mut copy = transaction.copy_in_raw(COPY).await?;
                copy.send(lines(quotes)).await?;
                copy.finish().await?;
            }
            Way::Unnest => unnest(INSERT, quotes.iter().map(|(_, quote)| quote), &mut transaction).await?,
            Way::Upsert => unnest(UPSERT, last_of_each(quotes), &mut transaction).await?,
        }
        sqlx::query(PROGRESS).bind(&self.group).bind(partitions).bind(next).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }
}

async fn unnest<'q>(
    sql: &'static str,
    quotes: impl Iterator<Item = &'q Quote<'q>>,
    connection: &mut PgConnection,
) -> Result<()> {
    let columns: Vec<[&str; 3]> = quotes.map(|q| [&*q.quote, &*q.character, &*q.image]).collect();
    let column = |index: usize| columns.iter().map(|row| row[index]).collect::<Vec<&str>>();
    sqlx::query(sql).bind(column(0)).bind(column(1)).bind(column(2)).execute(connection).await?;
    Ok(())
}

/// One statement must not meet a key twice; the last row of a key is the one that stays.
fn last_of_each<'q>(quotes: &'q [(usize, Quote<'q>)]) -> impl Iterator<Item = &'q Quote<'q>> {
    let last: HashMap<&str, usize> = quotes.iter().enumerate().map(|(at, (_, quote))| (&*quote.image, at)).collect();
    let stays = move |at: usize, quote: &Quote<'_>| last.get(&*quote.image) == Some(&at);
    quotes.iter().enumerate().filter(move |(at, (_, quote))| stays(*at, quote)).map(|(_, (_, quote))| quote)
}

/// The text format of COPY.
fn lines(quotes: &[(usize, Quote<'_>)]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(quotes.len() * 200);
    for (_, quote) in quotes {
        for (text, end) in [(&quote.quote, b'\t'), (&quote.character, b'\t'), (&quote.image, b'\n')] {
            for byte in text.bytes() {
                match byte {
                    b'\\' => lines.extend_from_slice(b"\\\\"),
                    b'\t' => lines.extend_from_slice(b"\\t"),
                    b'\n' => lines.extend_from_slice(b"\\n"),
                    b'\r' => lines.extend_from_slice(b"\\r"),
                    other => lines.push(other),
                }
            }
            lines.push(end);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote<'a>(quote: &'a str, image: &'a str) -> (usize, Quote<'a>) {
        (0, Quote { quote: quote.into(), character: "c".into(), image: image.into() })
    }

    #[test]
    fn the_last_row_of_a_key_stays() {
        let quotes = [quote("1", "a"), quote("2", "b"), quote("3", "a")];
        assert_eq!(last_of_each(&quotes).map(|quote| &*quote.quote).collect::<Vec<_>>(), ["2", "3"]);
    }

    #[test]
    fn lines_of_copy_are_escaped() {
        assert_eq!(lines(&[quote("a\tb\\\n", "i")]), b"a\\tb\\\\\\n\tc\ti\n");
    }
}
