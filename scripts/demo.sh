#!/usr/bin/env bash
# make demo: builds host and module, then shows records going through. Needs no service.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
check_tools
build_host --bin wasmill
build_module transforms/quotes modules
exec "$WASMILL" demo "$@"
