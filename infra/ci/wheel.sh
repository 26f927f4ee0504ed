#!/bin/sh
# Build the wheel, install it into an empty environment, and run the command from a folder that is not the project's.
set -eu

export UV_SYSTEM_CERTS=true # as in bootstrap.sh
sh infra/ci/bootstrap.sh
uv="$PWD/.loyalty/bootstrap/bin/uv"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$uv" build --quiet --wheel --out-dir "$folder"
# The versions that were tested, not whatever is newest today.
"$uv" export --quiet --locked --no-dev --no-emit-project --no-hashes --output-file "$folder/constraints.txt" >/dev/null
"$uv" venv --quiet --no-python-downloads --python .venv/bin/python "$folder/venv"
"$uv" pip install --quiet --python "$folder/venv/bin/python" --constraint "$folder/constraints.txt" "$folder"/*.whl
cd /
"$folder/venv/bin/loyalty" --help >/dev/null
echo "wheel: installs into an empty environment, and 'loyalty --help' runs from /"
