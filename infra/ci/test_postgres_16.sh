#!/bin/sh
# The suite on PostgreSQL 16, which the wheel of the embedded Postgres carries beside 18.
# Leaves out the tests that start all services: those run on the embedded Postgres by definition.
set -eu

folder=$(mktemp -d "$(sh infra/ci/memory.sh)/loyalty-test-pg-XXXXXX")
chmod 755 "$folder"
cleanup() {
    .venv/bin/python -c 'import sys, pathlib; from infra import cluster; cluster.stop(pathlib.Path(sys.argv[1]))' "$folder/data"
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

LOYALTY_TEST_DATABASE_URL=$(.venv/bin/python - "$folder/data" <<'PYTHON'
import pathlib, sys
from infra import cluster
print(cluster.start(pathlib.Path(sys.argv[1]), version=16).url("postgres", "postgres"))
PYTHON
)
export LOYALTY_TEST_DATABASE_URL LOYALTY_TEST_THROW_AWAY=1
.venv/bin/pytest $PYTEST -m "not server" "$@"
