# shellcheck shell=bash
# What the seed systems share. Each has services, a module and a host of its own in .wasmill/seed-NAME; all of it ends with
# the command. KEEP=1 leaves it running to look at, until Ctrl-C.

NAME=$(basename "$0" .sh)
DIR=$STATE/seed-$NAME
SERVICES_DIR=$DIR/services
MODULES=$DIR/modules
HELPERS=()
PATH=$TARGET_DIR/quick:$PATH
export NO_COLOR=1

end_seed() {
  local pid
  for pid in ${HELPERS[@]+"${HELPERS[@]}"}; do kill "$pid" 2>/dev/null || true; done
  wait
  tests/services/services.sh down "$SERVICES_DIR"
}

begin_seed() { # module
  check_tools
  build_host -p wasmill-tests --bins
  rm -rf "$MODULES" && mkdir -p "$MODULES"
  # `make test` has compiled it already.
  if [ -n "${WASMILL_TEST_GUESTS:-}" ]; then cp "$WASMILL_TEST_GUESTS/$1.wasm" "$MODULES/"; else build_module "transforms/$1" "$MODULES"; fi
  trap end_seed EXIT
  trap 'exit 130' INT TERM
  say "starting Kafka, Postgres and a MongoDB server"
  tests/services/services.sh up "$SERVICES_DIR" >/dev/null
  export_lines "$SERVICES_DIR/env"
}

configure() { # reads the configuration's own part
  {
    printf '[kafka]\nbrokers = "%s"\n[modules]\ndir = "modules"\n[admin]\nlisten = "127.0.0.1:0"\n' "$KAFKA_BROKERS"
    cat
  } >"$DIR/wasmill.toml"
}

# A host that ends when everything is written that was there when it began.
host_once() {
  wasmill run --once -c "$DIR/wasmill.toml" >>"$DIR/wasmill.log" 2>&1 || die "the host failed: $(tail -n 5 "$DIR/wasmill.log")"
}

expect() { # words found expected
  [ "$2" = "$3" ] || die "$1: found $2, expected $3"
  printf '%s: %s\n' "$1" "$2"
}

keep() {
  [ "${KEEP:-0}" = 1 ] || return 0
  say "it stays until Ctrl-C; in another shell: set -a; . $SERVICES_DIR/env; set +a; PATH=$TARGET_DIR/quick:\$PATH"
  wasmill run -c "$DIR/wasmill.toml"
}
