#!/usr/bin/env bash
# make db-to-db: rows of the database shop -> feed postgres -> topic users -> table users of the database warehouse; then
# only what has changed. transforms/users/README.md tells what it prints.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/seed.sh
. "$ROOT/scripts/seed.sh"
begin_seed users
SHOP=${POSTGRES_URL%/*}/shop
WAREHOUSE=${POSTGRES_URL%/*}/warehouse
configure <<TOML
[sinks.postgres]
url = "$WAREHOUSE"
TOML

in_shop() { POSTGRES_URL=$SHOP wasmill-query "$@"; }
# What both databases hold, in a line.
sum_of() { POSTGRES_URL=$1 wasmill-query postgres "SELECT count(*) || ' rows, md5 ' || md5(string_agg(concat_ws('|', id, name, lower(email), country, extract(epoch FROM created_at)), ',' ORDER BY id)) FROM users"; }

wasmill-query execute 'CREATE DATABASE shop'
wasmill-query execute 'CREATE DATABASE warehouse'
# Each change takes the next version: the column that only grows.
in_shop execute "CREATE SEQUENCE version; \
CREATE TABLE users (id bigint PRIMARY KEY, name text, email text, country text, created_at timestamptz, version bigint DEFAULT nextval('version')); \
INSERT INTO users SELECT n, 'User ' || n, 'User.' || n || '@Mail.example', CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN 'DE' ELSE 'JP' END, \
timestamptz '2026-01-01T00:00:00Z' + n * interval '1 second' FROM generate_series(1, 5000) n"

copy() { # options
  local told
  told=$(wasmill feed postgres 'SELECT * FROM users' --url "$SHOP" --column version --key-field id --topic users --partitions 3 \
    --brokers "$KAFKA_BROKERS" --json "$@")
  [[ $told =~ \"acknowledged\":([0-9]+) ]] || die "the feed told nothing: $told"
  FED=${BASH_REMATCH[1]}
  [[ $told =~ \"resume\":\"([^\"]*)\" ]] || die "the feed does not tell where to go on: $told"
  RESUME=${BASH_REMATCH[1]}
  host_once
}

copy
expect "rows fed" "$FED" 5000
expect "shop and warehouse" "$(sum_of "$WAREHOUSE")" "$(sum_of "$SHOP")"
in_shop execute "UPDATE users SET name = 'Renamed ' || id, version = nextval('version') WHERE id % 500 = 0; \
INSERT INTO users SELECT n, 'New ' || n, n || '@mail.example', NULL, timestamptz '2026-02-01T00:00:00Z' FROM generate_series(5001, 5005) n"
expect "to go on" "$RESUME" "--after 5000"
# shellcheck disable=SC2086
copy $RESUME
expect "changed rows fed" "$FED" 15
expect "shop and warehouse" "$(sum_of "$WAREHOUSE")" "$(sum_of "$SHOP")"
keep
