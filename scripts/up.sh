#!/usr/bin/env bash
# make up: services, then a host with the module quotes in the background. Everything is kept in .wasmill/.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
RUN=$STATE
# shellcheck source=tests/services/processes.sh
. tests/services/processes.sh
LOG=$STATE/wasmill.log

page() { # path -> status code
  local address
  address=$(sed -n 's/.*listening on \(http:\/\/\)\?\([0-9.]*:[0-9]*\).*/\2/p' "$LOG" | head -1)
  [ -n "$address" ] || return 1
  exec 3<>"/dev/tcp/${address%:*}/${address#*:}" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$address" >&3
  head -1 <&3 | cut -d' ' -f2
  exec 3<&-
}

write_files() {
  local listen=127.0.0.1:8686
  ! tcp_ready 8686 0 || listen=127.0.0.1:0
  cat >"$STATE/env" <<SH
# . .wasmill/env
export WASMILL_UP=1
$(sed "s/^\([A-Z_]*\)=\(.*\)/export \1='\2'/" "$STATE/services/env")
case :\$PATH: in *:$TARGET_DIR/quick:*) ;; *) export PATH=$TARGET_DIR/quick:\$PATH ;; esac
SH
  cat >"$STATE/wasmill.toml" <<TOML
[kafka]
brokers = "$KAFKA_BROKERS"
[modules]
dir = "../modules"
[sinks.postgres]
url = "$POSTGRES_URL"
[sinks.mongodb]
url = "$MONGODB_URL"
[admin]
listen = "$listen"
TOML
}

start_host() {
  NO_COLOR=1 setsid "$WASMILL" run -c "$STATE/wasmill.toml" </dev/null >"$LOG" 2>&1 &
  local pid=$! end=$((SECONDS + 120))
  record wasmill "$pid" TERM
  until [ "$(page /health/ready 2>/dev/null)" = 200 ]; do
    kill -0 "$pid" 2>/dev/null || die "the host ended: $(tail -n 5 "$LOG")"
    [ "$SECONDS" -lt "$end" ] || die "the host is not ready after 120 s: $(tail -n 5 "$LOG")"
    sleep 0.1
  done
}

check_tools
build_host -p wasmill-tests --bins
build_module transforms/quotes modules
mkdir -p "$STATE"
tests/services/services.sh up "$STATE/services" >/dev/null
export_lines "$STATE/services/env"
if [ -s "$RUN/pids" ] && all_alive; then
  say "the host is already running"
else
  rm -f "$RUN/pids"
  write_files
  # The host would wait for its source topic and say so; here everything is ready at once.
  "$WASMILL" feed file /dev/null --topic topic_quotes --brokers "$KAFKA_BROKERS" 2>/dev/null || die "the topic could not be created"
  start_host
fi
cat <<SH
The host is ready; its log is .wasmill/wasmill.log. Go on with:
  . .wasmill/env                                                      # PATH and addresses for this shell
  wasmill feed file samples/quotes.jsonl --topic topic_quotes
  wasmill-query postgres 'SELECT * FROM quotes LIMIT 5'               # or: psql $POSTGRES_URL
  wasmill-query mongodb simpson_db.quotes                             # or: mongosh $MONGODB_URL
  make down
SH
