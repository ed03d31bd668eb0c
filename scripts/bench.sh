#!/usr/bin/env bash
# make bench: builds with all optimisation, starts services that keep their promises (fsync), runs both programs in turns.
# Knobs: RECORDS, ROUNDS, PARTITIONS, SIZE, SCENARIOS as in bench/README.md, PROFILE=quick for a build of a few minutes less.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
check_tools
PROFILE=${PROFILE:-release}
SERVICES_DIR=$STATE/bench-services
GUESTS=$STATE/bench-guests
cargo build --profile "$PROFILE" -p wasmill -p wasmill-bench "${FEATURES[@]}"
WASMILL=$TARGET_DIR/$PROFILE/wasmill
build_module bench/guest "$GUESTS"
build_module bench/pass "$GUESTS"
trap 'tests/services/services.sh down "$SERVICES_DIR"' EXIT
trap 'exit 130' INT TERM
PG_FSYNC=on PG_EXTRA="-c max_wal_size=4GB -c shared_buffers=512MB" KAFKA_HEAP=1g MONGO_HEAP=3g SERVICES_FAST=1 \
  tests/services/services.sh up "$SERVICES_DIR" >/dev/null
export_lines "$SERVICES_DIR/env"
export WASMILL_BIN=$WASMILL WASMILL_TEST_GUESTS=$GUESTS BENCH_NATIVE=$TARGET_DIR/$PROFILE/wasmill-native
"$TARGET_DIR/$PROFILE/wasmill-bench"
