#!/usr/bin/env bash
# Real Kafka, PostgreSQL and a MongoDB server for tests and `make up`, on loopback and free ports.
#   services.sh install      fetches what is missing (package managers only)
#   services.sh browser      fetches the browser that the page is tested in
#   services.sh up DIR       starts, waits until ready, writes DIR/env (KEY=VALUE lines) and prints it
#   services.sh status DIR
#   services.sh down DIR     ends what `up` started there, nothing else, and removes its data
#   services.sh kill DIR NAME, start DIR NAME   of kafka1, postgres (stops at once, as in a crash), ferretdb: processes only
#   services.sh transactions DIR ARGUMENTS      Kafka's tool for transactions that hang; processes only
#   services.sh acls DIR ARGUMENTS              Kafka's tool for rights; processes only
# Where each service comes from, in this order: KAFKA_BROKERS, POSTGRES_URL, MONGODB_URL where they are set; the images
# of docker-compose.yml where an engine answers and has them or pulls them within 120 s; processes of this machine.
# Options: SERVICES="kafka postgres mongo"  SERVICES_FROM=auto|compose|native  SERVICES_CACHE=~/.cache/wasmill-services
#   KAFKA_NODES=1|3  KAFKA_HEAP=256m  KAFKA_PARTITIONS=1  MONGO_VOLUME=1|0 (a second MongoDB server that is fast)
#   KAFKA_TLS=1 (a second listener with TLS, SCRAM and rights, at KAFKA_TLS_BROKERS)  PG_TLS=1; their authority is TLS_CA; processes only
#   PG_FSYNC=off|on  PG_EXTRA=  READY_TIMEOUT=60 (s)  KEEP_DATA=0
set -euo pipefail
umask 022
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SERVICES=${SERVICES:-kafka postgres mongo}
SERVICES_FROM=${SERVICES_FROM:-auto}
# shellcheck disable=SC2034
CACHE=${SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wasmill-services}
READY_TIMEOUT=${READY_TIMEOUT:-60}

say() { printf '%s services: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "$*"; exit 3; }
now_ms() { date +%s%3N; }
want() { case " $SERVICES " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
emit() { printf '%s\n' "$@" >>"$RUN/env.new"; }
about() { printf '%-9s %s\n' "$1" "$2" >>"$RUN/about"; } # service words

# shellcheck source=tests/services/processes.sh
. "$HERE/processes.sh"
# shellcheck source=tests/services/install.sh
. "$HERE/install.sh"
# shellcheck source=tests/services/native.sh
. "$HERE/native.sh"
# shellcheck source=tests/services/compose.sh
. "$HERE/compose.sh"

# Takes what the environment gives out of SERVICES.
take_given() {
  local rest='' name variable
  for name in $SERVICES; do
    case $name in
    kafka) variable=KAFKA_BROKERS ;;
    postgres) variable=POSTGRES_URL ;;
    mongo) variable=MONGODB_URL ;;
    *) die "unknown service $name: use kafka, postgres, mongo" ;;
    esac
    if [ -z "${!variable:-}" ]; then
      rest+=" $name"
      continue
    fi
    emit "$variable=${!variable}" "${variable%%_*}_FROM=given"
    [ "$name" != mongo ] || emit "MONGODB_KIND=${MONGODB_KIND:-given}" "MONGODB_VOLUME_URL=${MONGODB_VOLUME_URL:-$MONGODB_URL}"
    about "$name" "given by $variable"
  done
  SERVICES=${rest# }
}

start_rest() {
  [ -n "$SERVICES" ] || return 0
  case $SERVICES_FROM in
  compose) compose_usable || die "SERVICES_FROM=compose, but $COMPOSE_WHY" ; start_compose ;;
  native) start_native ;;
  auto) if compose_usable; then start_compose; else say "not by compose: $COMPOSE_WHY"; start_native; fi ;;
  *) die "unknown SERVICES_FROM=$SERVICES_FROM: use auto, compose or native" ;;
  esac
}

is_up() { [ -s "$RUN/env" ] && if [ -s "$RUN/project" ]; then compose_alive; else all_alive; fi; }

do_up() {
  local started
  exec 8>"$RUN/.lock"
  flock -w 600 8 || die "$RUN is in use by another call"
  if is_up; then
    say "already up in $RUN"
    cat "$RUN/env"
    return
  fi
  do_down
  : >"$RUN/env.new"
  : >"$RUN/about"
  trap 'say "up failed: cleaning up"; do_down' EXIT
  started=$(now_ms)
  take_given
  start_rest
  trap - EXIT
  mv "$RUN/env.new" "$RUN/env"
  say "ready after $(($(now_ms) - started)) ms"
  sed 's/^/         services: /' "$RUN/about" >&2
  cat "$RUN/env"
}

do_down() {
  compose_down
  end_recorded
  rm -f "$RUN/env" "$RUN/env.new" "$RUN/about"
  [ "${KEEP_DATA:-0}" = 1 ] || remove_data
}

do_status() {
  [ -s "$RUN/env" ] || { echo down; return 1; }
  cat "$RUN/about"
  is_up && echo up
}

case ${1:-} in
install) install_native ;;
browser) install_browser ;;
up | down | status)
  [ -n "${2:-}" ] || die "usage: $0 $1 DIR"
  mkdir -p "$2"
  RUN=$(cd "$2" && pwd)
  "do_$1"
  ;;
kill | start | transactions | acls)
  [ -n "${3:-}" ] || die "usage: $0 $1 DIR NAME"
  RUN=$(cd "$2" && pwd)
  VERB=$1
  shift 2
  "do_$VERB" "$@"
  ;;
*)
  sed -n '2,16p' "$0" >&2
  exit 2
  ;;
esac
