#!/usr/bin/env bash
# make simpsons: a web API of quotes -> feed http -> topic_quotes -> table quotes (database simpsons) and collection
# simpson_db.quotes. transforms/quotes/README.md tells what it prints. KEEP=1 goes on polling until Ctrl-C.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/seed.sh
. "$ROOT/scripts/seed.sh"
begin_seed quotes
configure <<TOML
[sinks.postgres]
url = "$POSTGRES_URL"
[sinks.mongodb]
url = "$MONGODB_URL"
TOML

# This one needs no network and answers 503 now and then, as real ones do.
rm -f "$DIR/api"
wasmill-quotes-api >"$DIR/api" &
HELPERS+=($!)
for _ in $(seq 100); do [ ! -s "$DIR/api" ] || break; sleep 0.05; done
API=$(head -n 1 "$DIR/api")
[ -n "$API" ] || die "the stand-in of the quotes API did not start"
say "polling $API/quotes?count=5"
wasmill feed http "$API/quotes?count=5" --every 100ms --polls 20 --topic topic_quotes --partitions 3 --brokers "$KAFKA_BROKERS"
host_once

expect "rows in simpsons.quotes" "$(wasmill-query postgres 'SELECT count(*) FROM quotes')" 100
wasmill-query postgres 'SELECT charact, count(*) FROM quotes GROUP BY charact ORDER BY count(*) DESC, charact'
expect "documents in simpson_db.quotes" "$(wasmill-query mongodb simpson_db.quotes | wc -l | tr -d ' ')" 100
expect "of them Homer's" "$(wasmill-query mongodb simpson_db.quotes '{"character": "Homer Simpson"}' | wc -l | tr -d ' ')" 38
wasmill topics describe topic_quotes --brokers "$KAFKA_BROKERS" >&2
if [ "${KEEP:-0}" = 1 ]; then
  wasmill feed http "$API/quotes?count=5" --every 5s --topic topic_quotes --brokers "$KAFKA_BROKERS" &
  HELPERS+=($!)
fi
keep
