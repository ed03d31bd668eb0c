#!/usr/bin/env bash
# make lint: what CI refuses. Tools that are not installed are named and left out, except cargo's own.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
check_tools
cargo fmt --all --check
cargo clippy --profile quick --workspace --all-targets "${FEATURES[@]}" -- -D warnings
if has shellcheck; then shellcheck -x scripts/*.sh tests/services/{services,engine}.sh tests/services/stand-ins/{kafka-*,*-entrypoint} deploy/*.sh bench/peers/connect.sh .ci/run; else say "shellcheck is not installed: scripts not checked"; fi
if has cargo-deny; then cargo deny --log-level error check; else say "cargo-deny is not installed: licences and advisories not checked"; fi
