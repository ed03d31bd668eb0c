#!/usr/bin/env bash
# make data-lake: feed generate logs -> log-data -> bulk inserts under max_rows_per_second, so that the lake is never
# overloaded, however much waits. transforms/log-data/README.md tells what it prints. RECORDS=60000 CAP=1000
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/seed.sh
. "$ROOT/scripts/seed.sh"
RECORDS=${RECORDS:-60000}
CAP=${CAP:-1000}
# Each row then tells when it came into the table.
export PG_EXTRA="${PG_EXTRA:-} -c track_commit_timestamp=on"
begin_seed log-data
configure <<TOML
[kafka.properties]
"session.timeout.ms" = "6000"         # a host that misses its heartbeats for 6 s is out of the group
[sinks.postgres]
url = "$POSTGRES_URL"
max_rows_per_second = $CAP
[flow.log-data]
topics = ["log-data"]
TOML

member() { wasmill topics describe log-data --group wasmill.log-data --json --brokers "$KAFKA_BROKERS" 2>/dev/null | grep -o '"members":[0-9]*.*"state":"[A-Za-z]*"' | sed 's/"partitions.*"state"/"state"/'; }

wasmill feed generate logs --count "$RECORDS" --seed 7 --topic log-data --partitions 3 --compression lz4 --brokers "$KAFKA_BROKERS"
say "$RECORDS records wait; with a cap of $CAP rows per second that takes $((RECORDS / CAP)) s"
host_once &
HOST=$!
JOINED=0 LEFT=0
while kill -0 "$HOST" 2>/dev/null; do
  SEEN=$(member || true)
  case $SEEN in
  *'"members":1'*Stable*) JOINED=$((JOINED + 1)) ;;
  # Before it has joined, and after its last commit, there is nobody.
  *) if [ "$JOINED" -gt 0 ] && kill -0 "$HOST" 2>/dev/null; then LEFT=$((LEFT + 1)); fi ;;
  esac
  sleep 1
done
wait "$HOST"

ROWS=$(wasmill-query postgres "SELECT count(*) || ' rows, ' || count(DISTINCT attributes->>'seq') || ' records' FROM log_data")
expect "in log_data" "$ROWS" "$RECORDS rows, $RECORDS records"
MOST=$(wasmill-query postgres "SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND '999999 microseconds' FOLLOWING) AS n \
FROM (SELECT pg_xact_commit_timestamp(xmin) AS at FROM log_data) AS rows) AS seconds")
say "most rows within any second: $MOST; looks at the group while it ran: $JOINED"
expect "no second holds more than $((CAP * 11 / 10)) new rows" "$([ "$MOST" -le $((CAP * 11 / 10)) ] && echo yes || echo "no, $MOST")" yes
expect "the host stayed in its group" "$([ "$JOINED" -gt 2 ] && [ "$LEFT" -le 1 ] && echo yes || echo "no: $JOINED looks with it, $LEFT without")" yes
expect "dead letters" "$(wasmill topics ls --brokers "$KAFKA_BROKERS" | grep -c '\.dlq' || true)" 0
wasmill-query postgres "SELECT level, count(*) FROM log_data GROUP BY level ORDER BY level" >&2
keep
