//! Rows of one database, changed or new, become rows of another.
//!
//! `wasmill feed postgres` sends each row as `{"id": …, "name": …, "email": …, "country"?: …, "created_at": …}`; it
//! becomes the row of that `id`, however often it comes. An address is written in lower case; one without `@` is a dead
//! letter. Further fields, such as the column that the feed polls by, are left out.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct User<'a> {
    id: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    email: Cow<'a, str>,
    #[serde(borrow)]
    country: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
}

#[derive(Serialize, Table)]
#[table(name = "users", key = "id")]
struct UserRow<'a> {
    #[table(bigint)]
    id: i64,
    name: &'a str,
    email: String,
    country: Option<&'a str>,
    #[table(timestamptz)]
    created_at: &'a str,
}

#[transform(
    topics = ["users"],
    postgres = [UserRow],
    examples = [r#"{"id": 7, "name": "Ada Lovelace", "email": "Ada@mail.example", "created_at": "2026-01-02T03:04:05Z"}"# => 1],
)]
pub fn users(record: &Record, out: &mut Outputs) -> Result<()> {
    let user: User = record.json()?;
    if !user.email.contains('@') {
        return reject("the address has no @");
    }
    out.postgres_at("users").upsert(&UserRow {
        id: user.id,
        name: &user.name,
        email: user.email.to_lowercase(),
        country: user.country.as_deref(),
        created_at: &user.created_at,
    })
}

#[cfg(test)]
mod tests {
    use super::users;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<users>(env!("CARGO_MANIFEST_DIR"));
    }
}
