//! Which server it is, and whether its user may do what the flows need.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use super::connection::Session;
use super::errors::Failure;
use super::progress::push;
use crate::sinks::sql::names::{TableName, quote};
use crate::sinks::{Examined, Lack};

const SERVER: &str = "SELECT current_setting('server_version')::text, current_user::text, current_database()::text, \
pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'), \
CASE WHEN to_regnamespace('wasmill') IS NOT NULL THEN has_schema_privilege('wasmill', 'USAGE, CREATE') END";

const TABLE: &str = "SELECT CASE WHEN to_regclass($1) IS NOT NULL THEN has_table_privilege(to_regclass($1)::oid, 'INSERT') END, \
to_regnamespace(coalesce($2, quote_ident(current_schema()))) IS NOT NULL, \
CASE WHEN to_regnamespace(coalesce($2, quote_ident(current_schema()))) IS NOT NULL \
THEN has_schema_privilege(to_regnamespace(coalesce($2, quote_ident(current_schema())))::oid, 'CREATE') ELSE false END";

/// Looks at the server and at the tables that flows write.
pub(super) async fn examine(session: &mut Session, tables: &[TableName]) -> Result<Examined, Failure> {
    let rows = session.fetch(SERVER, PgArguments::default()).await?;
    let Some(row) = rows.first() else { return Ok(Examined::default()) };
    let (version, user, database): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (replica, may_create, own): (bool, bool, Option<bool>) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
    let (user, database) = (quote(&user), quote(&database));
    let mut lacks = Vec::new();
    if replica {
        lacks.push(Lack::new("the server is a replica and takes no writes", "name the primary in the sink's url"));
    }
    match own {
        None if !may_create => lacks.push(Lack::new(
            "the schema wasmill, which holds the progress, does not exist and may not be created",
            format!("CREATE SCHEMA wasmill AUTHORIZATION {user}, or GRANT CREATE ON DATABASE {database} TO {user}"),
        )),
        Some(false) => lacks.push(Lack::new(
            "the schema wasmill, which holds the progress, may not be used",
            format!("GRANT USAGE, CREATE ON SCHEMA wasmill TO {user}"),
        )),
        _ => {}
    }
    for table in tables {
        lacks.extend(table_lacks(session, table, &user, may_create).await?);
    }
    Ok(Examined { product: format!("PostgreSQL {version}, database {database}, user {user}"), lacks })
}

async fn table_lacks(
    session: &mut Session,
    table: &TableName,
    user: &str,
    may_create: bool,
) -> Result<Option<Lack>, Failure> {
    let mut arguments = PgArguments::default();
    push(&mut arguments, table.sql())?;
    push(&mut arguments, table.schema.as_deref().map(quote))?;
    let rows = session.fetch(TABLE, arguments).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (insert, has_schema, create): (Option<bool>, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let schema = table.schema.clone().unwrap_or_else(|| "public".into());
    Ok(match insert {
        Some(true) => None,
        Some(false) => Some(Lack::new(
            format!("rows may not be inserted into {table}"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {user}", table.sql()),
        )),
        None if has_schema && !create => Some(Lack::new(
            format!("the table {table} does not exist and may not be created"),
            format!("create it, or GRANT CREATE ON SCHEMA {} TO {user}", quote(&schema)),
        )),
        None if !has_schema && !may_create => Some(Lack::new(
            format!("the schema {schema} does not exist and may not be created"),
            format!("CREATE SCHEMA {} AUTHORIZATION {user}", quote(&schema)),
        )),
        None => None,
    })
}
