//! The codes of dead letters.

use super::Entry;

pub(super) const ENTRIES: [Entry; 34] = [
    Entry {
        code: "decode",
        means: "a value could not be turned into what the destination stores",
        why: "The module returned a row or document that is no JSON of the declared shape, or that the driver cannot encode.",
        act: "look at one letter (`wasmill dlq show --flow FLOW --code decode -n 1`), correct the transform, then \
              `wasmill dlq redrive FLOW --code decode`.",
    },
    Entry {
        code: "reject",
        means: "the module rejected the record",
        why: "It returned `reject(…)`, or `?` met JSON of another shape. `wasmill-message` has its words.",
        act: "if the record is right, correct the transform and redrive; if it is wrong, mend its producer, and use \
              `skip(…)` for what is expected and of no interest.",
    },
    Entry {
        code: "trap",
        means: "the module crashed on this record",
        why: "A panic, an index out of bounds, arithmetic overflow, the stack used up, or an outcome that breaks the \
              contract. The panic's message and place are in `wasmill-message`.",
        act: "save the record as a sample (`wasmill dlq show --flow FLOW --code trap -n 1 --json`), reproduce it with \
              `wasmill test`, mend it, `wasmill dlq redrive FLOW --code trap --dry-run --module NEW.wasm`, then redrive.",
    },
    Entry {
        code: "deadline",
        means: "the module did not finish with this record",
        why: "It took longer than `limits.time_per_record`, and on the engine that counts it used up `limits.fuel`: an \
              endless loop, or far more work than for other records.",
        act: "mend the loop; if the work is meant, raise `limits.fuel` (and `time_per_record`) of the flow. Redrive.",
    },
    Entry {
        code: "memory",
        means: "the module needed more memory than it may have",
        why: "On a fresh instance the record alone made it grow beyond `limits.memory`.",
        act: "do not collect what can be written at once; else raise `limits.memory` of the flow. Redrive.",
    },
    Entry {
        code: "output-limit",
        means: "the record made too many or too large outputs",
        why: "More than `limits.outputs` outputs, or more than `limits.output_bytes` (and twice the record's size).",
        act: "correct the loop that makes them, or raise the limit that the message names. Redrive.",
    },
    Entry {
        code: "too-large",
        means: "a record is larger than what takes it allows",
        why: "Of stage `transform`: larger than `limits.record`, the module never saw it. Of stage `sink`: an output is \
              larger than `max.message.bytes` of its topic.",
        act: "raise the limit that the message names, then redrive. A letter whose value had to be cut \
              (`wasmill-truncated`) cannot be redriven: reset the partition to its offset instead.",
    },
    Entry {
        code: "unknown-target",
        means: "the module named a destination that it did not declare",
        why: "A name that is put together at run time, such as a topic per tenant, is not in `#[transform(…)]`.",
        act: "declare it, with a `*` at its end where it varies (`kafka = [\"tenant-*\"]`), build, redrive.",
    },
    Entry {
        code: "pg-22001",
        means: "Postgres: a text is too long for its column",
        why: "The column is `varchar(n)`, the value has more than n characters (string_data_right_truncation).",
        act: "shorten it in the transform, or `ALTER TABLE … ALTER COLUMN … TYPE` to a wider type; redrive.",
    },
    Entry {
        code: "pg-22003",
        means: "Postgres: a number does not fit its column",
        why: "Such as 3000000000 in an `integer`, or more digits than `numeric(p, s)` takes (numeric_value_out_of_range).",
        act: "declare a wider type in the row and alter the column, or check the number in the transform; redrive.",
    },
    Entry {
        code: "pg-22P02",
        means: "Postgres: a text cannot be read as the column's type",
        why: "Such as `n/a` in a number, a uuid or an enum (invalid_text_representation).",
        act: "parse it in the transform and write NULL or reject what is none; redrive.",
    },
    Entry {
        code: "pg-22021",
        means: "Postgres: a text holds a character that it cannot store",
        why: "U+0000 in a text column, or bytes that are no UTF-8 (character_not_in_repertoire).",
        act: "remove it in the transform (`text.replace('\\0', \"\")`), or use a `bytea` column; redrive.",
    },
    Entry {
        code: "pg-22P05",
        means: "Postgres: JSON holds a character that it cannot store",
        why: "\\u0000 in a value of a `jsonb` column (untranslatable_character).",
        act: "remove it in the transform, or make the column `json`; redrive.",
    },
    Entry {
        code: "pg-22<xxx>",
        means: "Postgres: a value does not fit its column",
        why: "SQLSTATE class 22, data exception: dates that do not exist, a division by zero in a generated column, JSON \
              that is none. `wasmill-message` has the server's words without the value.",
        act: "correct the value in the transform or the column's type; redrive.",
    },
    Entry {
        code: "pg-23502",
        means: "Postgres: a column that must have a value got none",
        why: "A NOT NULL column without a default is missing in the row or NULL (not_null_violation).",
        act: "let the transform fill it, give the column a default, or drop NOT NULL; redrive.",
    },
    Entry {
        code: "pg-23503",
        means: "Postgres: the row refers to one that is not there",
        why: "A foreign key: mostly the other topic has not been processed as far yet (foreign_key_violation).",
        act: "redrive once the other rows are there; for good, drop the constraint or make it DEFERRABLE: topics have no \
              order between them.",
    },
    Entry {
        code: "pg-23505",
        means: "Postgres: a row with the same key is there already",
        why: "A unique index, and the mode is `insert` (unique_violation): the record was produced twice, or the topic was \
              read again after a reset without emptying the table.",
        act: "set `mode = \"ignore\"` or `\"upsert\"` with `key = […]` for the table; what is there already needs no redrive.",
    },
    Entry {
        code: "pg-23514",
        means: "Postgres: a CHECK constraint refused the row",
        why: "The row breaks a rule of the table or of its domain type (check_violation).",
        act: "correct the transform or the constraint that `wasmill-message` names; redrive.",
    },
    Entry {
        code: "pg-23<xxx>",
        means: "Postgres: a constraint refused the row",
        why: "SQLSTATE class 23, integrity constraint violation; `wasmill-message` names the constraint.",
        act: "correct the transform or the constraint; redrive.",
    },
    Entry {
        code: "pg-54000",
        means: "Postgres: a value is too large for an index",
        why: "An index on a long text takes about 2,700 bytes (program_limit_exceeded).",
        act: "index a digest or a part of it (`md5(column)`), or shorten the value; redrive.",
    },
    Entry {
        code: "pg-<sqlstate>",
        means: "Postgres refused the row for what is in it",
        why: "The five characters are the server's SQLSTATE (appendix A of its manual). Missing rights, missing tables and \
              outages are none of these: they are waited for and named in `/health/ready`.",
        act: "read `wasmill-message`, correct the transform or the table; redrive.",
    },
    Entry {
        code: "mongo-11000",
        means: "MongoDB: a unique index holds the value already",
        why: "Another document has the same value; the message names the index.",
        act: "use `.upsert(…)` with that value as the `_id`, or drop the index; redrive what should be there.",
    },
    Entry {
        code: "mongo-121",
        means: "MongoDB: the collection's validator refused the document",
        why: "`$jsonSchema` or another validator of the collection does not allow it.",
        act: "correct the transform or the validator (`collMod`); redrive.",
    },
    Entry {
        code: "mongo-73",
        means: "MongoDB: the target is no name of a collection",
        why: "A name that was put together at run time is empty, has no `db.` or holds a character that no name may.",
        act: "correct the transform; `db.collection` is what it must be. Redrive.",
    },
    Entry {
        code: "mongo-10334",
        means: "MongoDB: the document is too large",
        why: "A document has at most 16 MiB as BSON.",
        act: "split it in the transform, or store the large part elsewhere; redrive.",
    },
    Entry {
        code: "mongo-<code>",
        means: "MongoDB refused the document for what is in it",
        why: "The number is the server's error code; 2 is a value that it does not take, 52 and 55 are field names.",
        act: "read `wasmill-message`, correct the transform; redrive.",
    },
    Entry {
        code: "kafka-InvalidRecord",
        means: "Kafka: the topic does not take such a record",
        why: "Mostly a record without a key for a compacted topic.",
        act: "give it a key (`out.kafka(…).key(…)`), or set the topic's `cleanup.policy` to `delete`; redrive.",
    },
    Entry {
        code: "kafka-InvalidTimestamp",
        means: "Kafka: the timestamp is too far away",
        why: "The topic's `message.timestamp.before.max.ms` or `after.max.ms` does not allow it.",
        act: "set the timestamp in the transform, or raise the topic's limit; redrive.",
    },
    Entry {
        code: "kafka-UnknownPartition",
        means: "Kafka: the output names a partition that the topic does not have",
        why: "`.partition(n)` with n beyond the topic's count.",
        act: "leave the partition to the key, or add partitions to the topic; redrive.",
    },
    Entry {
        code: "kafka-<name>",
        means: "Kafka refused the output for what is in it",
        why: "The name is the client's error code. Outages and missing rights are none of these: they are waited for.",
        act: "read `wasmill-message`, correct the transform or the topic's settings; redrive.",
    },
    Entry {
        code: "sqlite-2067",
        means: "SQLite: a row with the same value is there already",
        why: "A UNIQUE constraint; 1555 is the same for the primary key.",
        act: "set `mode = \"ignore\"` or `\"upsert\"` with `key = […]` for the table.",
    },
    Entry {
        code: "sqlite-1299",
        means: "SQLite: a column that must have a value got none",
        why: "A NOT NULL column without a default is missing in the row or NULL.",
        act: "let the transform fill it, or give the column a default; redrive.",
    },
    Entry {
        code: "sqlite-18",
        means: "SQLite: a row or value is too big",
        why: "More than SQLITE_MAX_LENGTH, 1 GB unless built otherwise.",
        act: "split it in the transform; redrive.",
    },
    Entry {
        code: "sqlite-<code>",
        means: "SQLite refused the row for what is in it",
        why: "The number is the extended result code: 275 a CHECK, 787 a foreign key, 3091 a type of a STRICT table.",
        act: "read `wasmill-message`, correct the transform or the table; redrive.",
    },
];
