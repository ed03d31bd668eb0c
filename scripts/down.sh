#!/usr/bin/env bash
# make down: ends the host and the services that `make up` started, and nothing else.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
RUN=$STATE
# shellcheck source=tests/services/processes.sh
. tests/services/processes.sh
end_recorded
rm -f "$STATE/env"
if [ -d "$STATE/services" ]; then tests/services/services.sh down "$STATE/services"; fi
say "down"
