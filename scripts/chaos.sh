#!/usr/bin/env bash
# make chaos: three hosts under load while hosts, broker, databases and connections fail; SEED, LENGTH (seconds of faults) and RATE (records a second) as knobs.
set -euo pipefail
export SECONDS_OF_FAULTS=${LENGTH:-120}
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
check_tools
FEATURES+=(--features wasmill/failpoints)
cargo build -q --profile quick --workspace "${FEATURES[@]}"
build_module tests/fixtures/chaos "$STATE/chaos-guests"
export WASMILL_BIN=$WASMILL WASMILL_TEST_GUESTS=$STATE/chaos-guests
exec "$TARGET_DIR/quick/wasmill-chaos"
