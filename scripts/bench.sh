#!/usr/bin/env bash
# make bench: builds with all optimisation, starts services that keep their promises (fsync), runs both programs in turns.
# Knobs: RECORDS, ROUNDS, SCENARIOS and others as in bench/README.md; PROFILE=quick for a build of a few minutes less,
# MICRO=1 for the micro-benchmarks, PEERS=1 for peers from public registries.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=bench/peers/install.sh
. bench/peers/install.sh
check_tools
PROFILE=${PROFILE:-release}
SERVICES_DIR=$STATE/bench-services
GUESTS=$STATE/bench-guests

cargo build --profile "$PROFILE" -p wasmill -p wasmill-bench "${FEATURES[@]}"
WASMILL=$TARGET_DIR/$PROFILE/wasmill
build_module bench/guest "$GUESTS"
build_module bench/pass "$GUESTS"
export WASMILL_BIN=$WASMILL WASMILL_TEST_GUESTS=$GUESTS BENCH_NATIVE=$TARGET_DIR/$PROFILE/wasmill-native
if [ "${MICRO:-0}" = 1 ]; then
  exec cargo bench --profile "$PROFILE" -p wasmill -p wasmill-bench "${FEATURES[@]}" --features wasmill-bench/micro --bench hot_path
fi
if [ "${PEERS:-0}" = 1 ]; then peers; fi
trap 'tests/services/services.sh down "$SERVICES_DIR"' EXIT
trap 'exit 130' INT TERM
PG_FSYNC=on PG_EXTRA="-c max_wal_size=4GB -c shared_buffers=512MB" KAFKA_HEAP=1g MONGO_HEAP=3g SERVICES_FAST=1 \
  tests/services/services.sh up "$SERVICES_DIR" >/dev/null
export_lines "$SERVICES_DIR/env"
"$TARGET_DIR/$PROFILE/wasmill-bench"
