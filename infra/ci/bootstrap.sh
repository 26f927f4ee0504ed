#!/bin/sh
# Make .venv from uv.lock on a machine that has Python and no uv. Run from the project's folder.
set -eu

PYTHON=${PYTHON:-python3}
TOOL=.loyalty/bootstrap

fail() {
    echo "$1" >&2
    exit 1
}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed. Name one with: make PYTHON=/path/to/python3.12 ..."

# A cache in the user's home is shared by projects; without a home there is still a place for it.
[ -n "${HOME:-}" ] && [ -w "$HOME" ] || export HOME="$PWD/.loyalty" UV_CACHE_DIR="$PWD/.loyalty/uv-cache"

if ! "$TOOL/bin/uv" --version >/dev/null 2>&1; then
    rm -rf "$TOOL"
    mkdir -p .loyalty
    if reason=$("$PYTHON" -m venv "$TOOL" 2>&1); then
        "$TOOL/bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.13,<0.14"
    elif command -v uv >/dev/null 2>&1; then
        rm -rf "$TOOL"
        mkdir -p "$TOOL/bin"
        ln -s "$(command -v uv)" "$TOOL/bin/uv"
    else
        rm -rf "$TOOL"
        fail "$reason

$PYTHON cannot make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv
Or install uv in any way you like; it will be found."
    fi
fi

unset VIRTUAL_ENV
export UV_SYSTEM_CERTS=true # what the machine trusts: companies put their own certificate there
# The lock and this interpreter decide, not what else the machine or its settings offer.
"$TOOL/bin/uv" sync --quiet --locked --all-extras --compile-bytecode --no-python-downloads \
    --python "$("$PYTHON" -c 'import sys; print(sys.executable)')"
