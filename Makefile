# The one task runner. Every target sets up what it needs; a fresh Debian with Python 3.11 or newer and make is enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: run test lint bench soak mutants lock clean

run: $(VENV)/.run
	@$(BIN)/headgate serve $(ARGS)

test: $(VENV)/.dev redis ffmpeg proxies
	$(BIN)/python -m tests.e2e.toolchains
	$(BIN)/python -m pytest -n 2 -m "not slow and not alone" tests
	$(BIN)/python -m pytest -m "alone" tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev redis
	$(BIN)/python -m tests.bench.main_path
	$(BIN)/python -m tests.bench.gate
	$(BIN)/python -m tests.bench.fairness
	$(BIN)/python -m tests.bench.fairness hog --amount 1200 --window 60
	$(BIN)/python -m tests.bench.retry_after
	$(BIN)/python -m tests.bench.promises --only '60 per 6'
	$(BIN)/python -m tests.bench.use
	$(BIN)/python -m tests.bench.finding
	$(BIN)/python -m tests.bench.steady
	$(BIN)/python -m tests.bench.script
	$(BIN)/python -m tests.bench.held
	$(BIN)/python -m tests.bench.pauses

soak: $(VENV)/.dev redis ffmpeg proxies
	HEADGATE_HISTORIES=10000 $(BIN)/python -m pytest -n 2 -o timeout=7200 -m "not alone" tests
	$(BIN)/python -m pytest -m "alone" tests
	$(BIN)/python -m tests.bench.use --full --windows 3
	$(BIN)/python -m tests.bench.slow

# Each single change of the gate's Lua must fail a test, or stand in tests/mutation/known.txt with the reason.
mutants: $(VENV)/.dev redis
	$(BIN)/python -m tests.mutation

# Hashes for requirements*.in; the files name no index, so that an install works behind any mirror.
lock: $(VENV)/.dev
	for name in requirements requirements-dev; do \
	  $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header -o $$name.txt $$name.in; \
	done

clean:
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .hypothesis build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); sh tools/apt-install.sh python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once)"
	@$(BIN)/pip install --quiet --require-hashes -r requirements.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: redis ffmpeg proxies
redis:
	@command -v redis-server >/dev/null || sh tools/apt-install.sh redis-server

# makes the sounds that the tests of audio measure
ffmpeg:
	@command -v ffmpeg >/dev/null || sh tools/apt-install.sh ffmpeg

# take the same bad bytes as we do, for comparison; without them those tests say that they did not run
proxies:
	@command -v haproxy >/dev/null && command -v nginx >/dev/null || sh tools/apt-install.sh haproxy nginx || true
