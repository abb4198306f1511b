#!/usr/bin/env bash
# From nothing to a trained model and its report: sets everything up, then runs `gavt quickstart`.
# Use: bash jobs/quickstart.sh [options of gavt quickstart]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash jobs/setup.sh
exec .venv/bin/gavt quickstart "$@"
