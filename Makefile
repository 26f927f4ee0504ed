# Needs python3 (3.11 or newer) and make, nothing else: the first target you run makes .venv from uv.lock.
# `make` alone lists the targets.

PYTHON ?= python3
PYTEST ?= -q -n 3 --dist loadfile --no-loadscope-reorder
export PYTHON PYTEST

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test check bench test-pg16 test-pg15 test-object-lock clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

.venv/.ready: pyproject.toml uv.lock infra/ci/bootstrap.sh
	@sh infra/ci/bootstrap.sh
	@touch $@

demo: .venv/.ready ## start everything under .loyalty/, load a generated shop, close its nights, print the addresses
	@.venv/bin/loyalty demo

demo-stop: .venv/.ready ## stop everything the demo started; its data stays under .loyalty/
	@.venv/bin/loyalty down

test: .venv/.ready ## the whole test suite, on the embedded PostgreSQL 18
	@sh infra/ci/browser.sh
	@.venv/bin/pytest $(PYTEST)

check: .venv/.ready ## lint, formatting and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: .venv/.ready ## the benchmarks, each against its yardstick
	@.venv/bin/python benchmarks/run_all.py

test-pg16: .venv/.ready ## the suite on PostgreSQL 16, from a wheel
	@sh infra/ci/test_postgres_16.sh

test-pg15: .venv/.ready ## the suite on Debian's PostgreSQL 15 (installs it with apt-get if it is missing; needs root for that)
	@sh infra/ci/test_postgres_15.sh

test-object-lock: .venv/.ready ## backups under Object Lock, on LocalStack (in a venv of its own; needs Python 3.13)
	@sh infra/ci/test_object_lock.sh

clean: ## remove .venv, caches and builds; the data under .loyalty/ stays
	rm -rf .venv .loyalty/bootstrap .loyalty/localstack .loyalty/uv-cache dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
