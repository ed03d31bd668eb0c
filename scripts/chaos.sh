#!/usr/bin/env bash
# make chaos: three hosts under faults from a seed, on services of their own, and a checker; prints one row of a table.
#   make chaos MINUTES=20            a new seed, which is printed
#   make chaos SEED=7 MINUTES=20     the same faults at the same times again
# Knobs: LENGTH=1200 (seconds, instead of MINUTES)  RATE=3000 (records per second, at most)  BACKLOG=20000 (unread records, at most)  WITHOUT=journal|compare-and-set
# Files, among them chaos.md with a row per run, stay in .wasmill/chaos.
set -uo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
check_tools
DIR=${CHAOS_DIR:-$STATE/chaos}
GUESTS=$STATE/chaos-guests
SEED=${SEED:-$((($(date +%s) + $$) % 1000000))}
# Steps can be switched off only in this build; nothing is switched off unless WITHOUT says so.
cargo build --profile quick --workspace "${FEATURES[@]}" --features wasmill/failpoints || die "the build failed: see above"
build_module tests/fixtures/chaos "$GUESTS"
build_module tests/fixtures/chaos-plain "$GUESTS"
# Should the driver be interrupted, it cannot end what it started.
trap 'tests/services/services.sh down "$DIR/seed-$SEED/services"' EXIT
trap 'exit 130' INT TERM
ARGUMENTS=("$DIR" --seed "$SEED" --seconds "${LENGTH:-$((${MINUTES:-2} * 60))}")
[ -z "${RATE:-}" ] || ARGUMENTS+=(--rate "$RATE")
[ -z "${BACKLOG:-}" ] || ARGUMENTS+=(--backlog "$BACKLOG")
[ -z "${WITHOUT:-}" ] || ARGUMENTS+=(--without "$WITHOUT")
WASMILL_BIN=$WASMILL WASMILL_TEST_GUESTS=$GUESTS "$TARGET_DIR/quick/wasmill-chaos" "${ARGUMENTS[@]}"
