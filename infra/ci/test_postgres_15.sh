#!/bin/sh
# The suite on Debian's PostgreSQL 15, the oldest release we support, over TCP as on a real server.
# A throw-away cluster on a port of its own; the machine's own clusters are not touched.
set -eu

programs=/usr/lib/postgresql/15/bin
if ! [ -x "$programs/initdb" ]; then
    [ "$(id -u)" = 0 ] || { echo "PostgreSQL 15 is not installed: apt-get install postgresql-15" >&2; exit 1; }
    # Debian starts a cluster on installation unless it is told not to; we bring our own.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y postgresql-15 >/dev/null
fi

folder=$(mktemp -d "$(sh infra/ci/memory.sh)/loyalty-test-pg-XXXXXX")
as_postgres() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}
cleanup() {
    as_postgres "$programs/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" != 0 ] || chown postgres "$folder"
port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_postgres "$programs/initdb" -D "$folder/data" -U postgres --auth=trust --encoding=UTF8 --locale=C >/dev/null
as_postgres "$programs/pg_ctl" -D "$folder/data" -l "$folder/log" -w start \
    -o "-c listen_addresses=127.0.0.1 -p $port -k $folder -c max_connections=200" >/dev/null

export LOYALTY_TEST_DATABASE_URL="postgresql://postgres@127.0.0.1:$port/postgres" LOYALTY_TEST_THROW_AWAY=1
.venv/bin/pytest $PYTEST -m "not server" "$@"
