#!/usr/bin/env bash
# make test: builds host and modules, starts the services, runs every test on them, ends with one line `N passed, N failed`.
# A step that cannot be done counts as one failure.
set -uo pipefail
exec 2>&1
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
GUESTS=$STATE/test-guests
SERVICES_DIR=$STATE/test-services
ENGINE_DIR=$STATE/test-engine
RESULTS=$STATE/test-results
BROKEN=0

step() { # words command...
  local started=$SECONDS
  printf '\n== %s\n' "$1"
  shift
  if "$@"; then printf -- '-- done in %d s\n' $((SECONDS - started)); else
    printf -- '-- FAILED after %d s: %s\n' $((SECONDS - started)) "$*"
    BROKEN=$((BROKEN + 1))
    return 1
  fi
}

finish() {
  tests/services/services.sh down "$SERVICES_DIR"
  tests/services/engine.sh down "$ENGINE_DIR"
  local passed failed
  passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$RESULTS" | awk '{ n += $1 } END { print n + 0 }')
  failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$RESULTS" | awk '{ n += $1 } END { print n + 0 }')
  printf '\n%d passed, %d failed\n' "$passed" $((failed + BROKEN))
  [ $((failed + BROKEN)) = 0 ] && [ "$passed" -gt 0 ]
  exit $?
}

# One selection of crates for everything: another one would have other features and build the dependencies anew.
build_all() { cargo test -q --profile quick --workspace --no-run "${FEATURES[@]}"; }

build_guests() {
  local crate
  rm -rf "$GUESTS" && mkdir -p "$GUESTS"
  for crate in transforms/*/Cargo.toml tests/fixtures/*/Cargo.toml; do
    [ -e "$crate" ] || continue
    "$WASMILL" build "${crate%/Cargo.toml}" -o "$GUESTS" || return 1
  done
  build_typed
}

# The same transform once more, for the world with idiomatic types.
build_typed() {
  local line guest=()
  while IFS= read -r line; do guest+=("$line"); done < <(bash scripts/wasm-target.sh --env)
  env ${guest[@]+"${guest[@]}"} cargo build -q --profile guest --target wasm32-unknown-unknown --target-dir "$TARGET_DIR/typed" \
    -p quotes --features wasmill-sdk/typed &&
    cp "$TARGET_DIR/typed/wasm32-unknown-unknown/guest/quotes.wasm" "$GUESTS/quotes-typed.wasm"
}

start_services() {
  tests/services/services.sh browser
  tests/services/services.sh up "$SERVICES_DIR" >/dev/null
}

# For tests of the image and of docker-compose.yml, which are skipped where there is none.
start_engine() {
  tests/services/engine.sh up "$ENGINE_DIR" >/dev/null
  case $? in
  0) ;;
  4) echo "SKIPPED: the image and docker-compose.yml are not tested on an engine: $(cat "$ENGINE_DIR/why")" ;;
  *) return 1 ;;
  esac
}

run_tests() {
  local tests
  export_lines "$SERVICES_DIR/env"
  export WASMILL_TEST_SERVICES=1 WASMILL_TEST_GUESTS=$GUESTS WASMILL_BIN=$WASMILL WASMILL_TEST_ENGINE=$ENGINE_DIR
  cargo test --profile quick --workspace --no-fail-fast "${FEATURES[@]}" | tee "$RESULTS"
  tests=${PIPESTATUS[0]}
  # Failed tests are counted one by one; anything else that fails here is a failure of the step.
  [ "$tests" = 0 ] || grep -q '^test result: FAILED' "$RESULTS"
}

mkdir -p "$STATE"
: >"$RESULTS"
check_tools
# Tests end and delay the host at named steps.
FEATURES+=(--features wasmill/failpoints)
trap 'exit 130' INT TERM
trap finish EXIT
step "formatting" cargo fmt --all --check
step "building host and tests" build_all || exit
step "building transforms and fixtures" build_guests || exit
step "starting services" start_services || exit
step "starting a container engine" start_engine
step "testing" run_tests
