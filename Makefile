# Plain `make` lists every command with a line each.
SHELL := /bin/bash
PY := .venv/bin/python
MEMBERS := contracts services/chassis services/scheduling services/field-ingest services/media services/billing-bridge device/python deploy/local
SOURCES := contracts/zb_contracts services/chassis/zb_chassis services/scheduling/scheduling services/field-ingest/field_ingest \
	services/media/media services/billing-bridge/billing_bridge device/python/zb_device deploy/local/zb
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz bench-ledger bench-device bench-replay check format generate lock clean simulate crash-points

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.installed ## install everything into .venv (no root, no Docker)

.venv/.installed: requirements.lock requirements-uv.lock $(MEMBERS:=/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv || { echo "this Python cannot make a virtual environment: install its venv module (Debian: python3-venv)"; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv .venv/bin/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --offline $(MEMBERS:%=-e ./%)
	@touch $@

demo: setup ## play one technician's day on a real system (ARGS=--exit ends by itself)
	@.venv/bin/zb demo $(ARGS)

test: setup ## all tests, with a real nats-server and a real PostgreSQL (WORKERS=0: one after the other)
	@$(PY) -m pytest -n $(or $(WORKERS),2) --dist loadscope $(ARGS)

fuzz: setup ## bad input for every reader of outside bytes (SECONDS=60 TARGET=header)
	@$(PY) -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGET:%=--target %)

bench-ledger: setup ## how fast segments become receipts and states here (FULL=1: 2,000,000 events)
	@$(PY) -m tests.bench.ledger $(if $(FULL),--full) $(ARGS)

bench-device: setup ## what a device costs its user, and 10,000 of them the platform here (ARGS="--only append --devices 200")
	@$(PY) -m tests.bench.device $(ARGS)

bench-replay: setup ## how fast the ledger becomes states again, how long a proof takes (FULL=1: 2,000,000 events)
	@$(PY) -m tests.bench.replay $(if $(FULL),--full) $(ARGS)

crash-points: setup ## a device killed at every point where it writes
	@ZB_CRASH_POINTS=all $(PY) -m pytest --timeout=0 device/python/tests/test_crash_points.py $(ARGS)

simulate: setup ## the whole system in one process, by seed, while everything fails (SEEDS=10000 FIRST=1 WORKERS=2)
	@$(PY) -m tests.simulation.run --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) --workers $(or $(WORKERS),1) $(ARGS)

check: setup ## format, lint, types, import rules, sizes, generated files up to date, released schemas unbroken
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .
	@.venv/bin/mypy $(SOURCES)
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m pytest tests/test_house_style.py
	@$(PY) -m zb.generate --verify

format: setup ## format and mend what the linter can mend
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --fix --quiet .

generate: setup ## write the generated contracts again (JSON Schema, AsyncAPI, OpenAPI, pages)
	@$(PY) -m zb.generate

lock: setup ## resolve the dependencies again into requirements.lock
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --group dev \
		--no-emit-package zb-contracts --no-emit-package zb-chassis -o requirements.lock $(MEMBERS:=/pyproject.toml)
	@sed -n '/^uv==/,/^[a-z].*==/p' requirements.lock | sed -e '1b' -e '/^[a-z].*==/d' > requirements-uv.lock

clean: ## remove the environment and the local data
	@rm -rf .venv .zb
