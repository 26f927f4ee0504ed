#!/bin/sh
# Backups under Object Lock, against LocalStack, which enforces it; in a virtual environment of its own, because its
# dependencies contradict ours. It needs Python 3.13 (PYTHON313 names one), though its metadata does not say so. The pins were found by trial.
set -eu

place=$PWD/.loyalty/localstack
if [ ! -f "$place/ready" ]; then
    uv=.loyalty/bootstrap/bin/uv
    [ -x "$uv" ] || uv=uv
    rm -rf "$place"
    "$uv" venv --quiet --python "${PYTHON313:-3.13}" "$place"
    "$uv" pip install --quiet --python "$place" 'localstack-core[base-runtime]==4.14.0' \
        service_identity==24.2.0 pyopenssl==25.0.0 'cryptography<45' 'cbor2<5.8'
    touch "$place/ready"
fi
LOYALTY_TEST_LOCALSTACK=$place/bin/python exec .venv/bin/pytest -q tests/postgres/test_object_lock.py "$@"
