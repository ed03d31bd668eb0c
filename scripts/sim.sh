#!/usr/bin/env bash
# make sim: runs the delivery protocol over a million seeded schedules, and its mutants. WASMILL_SIM_SCHEDULES=N for other
# numbers, WASMILL_SIM_SEED=n to print the steps of one schedule.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
export WASMILL_SIM_SCHEDULES=${WASMILL_SIM_SCHEDULES:-1000000}
exec cargo test --profile quick --workspace --lib -- commit::sim --nocapture
