# Two commands do everything, set-up included: `make run` and `make test`. `make help` lists the rest.
# Needed: Python 3.11 or newer with its venv module, and make. Everything else comes from uv.lock into .venv.

# PYTHON=/path/to/python chooses the interpreter for .venv; without it the first of these that will do is taken.
PYTHON ?=
CANDIDATES := python3.13 python3.12 python3.11 python3
# Test processes that run side by side; 0 runs everything in one.
PARALLEL ?= 2
# More options of `make chaos`, as in CHAOS="--power-cuts 100 --no-zombies"; its --help lists them.
CHAOS ?=

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
UV := $(BIN)/uv sync --frozen --inexact --quiet

# Browser tests and screenshots need Playwright's client (160 MB), which is of use only beside a browser.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
DEV := $(VENV)/.dev$(if $(BROWSER),-browser)

unexport VIRTUAL_ENV UV_PYTHON
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
# Behind a proxy that opens TLS, uv has to trust what the system trusts.
ifdef SSL_CERT_FILE
export UV_SYSTEM_CERTS ?= 1
endif

.DEFAULT_GOAL := help
.PHONY: setup run test check fmt bench chaos screenshots clean help

setup: $(VENV)/.run ## set up only; afterwards .venv/bin/threadway works
	@echo "ready: $(BIN)/threadway --help" >&2

run: $(VENV)/.run ## set up, then run everything on this machine
	@exec $(BIN)/threadway up

test: $(DEV) ## set up, then run all tests (no Redis, token or browser needed)
	@$(BIN)/pytest -n $(PARALLEL) --dist loadfile
	@# what depends on the server once more, where the machine has a Redis of its own (Debian 12: 7.0, the oldest we promise)
	@! command -v redis-server >/dev/null || TEST_REDIS_SERVER=$$(command -v redis-server) $(BIN)/pytest -n $(PARALLEL) \
	  --dist loadfile tests/redis tests/flow/test_backpressure.py tests/flow/test_broker.py

check: $(DEV) ## format, lint, types, import rules, fast tests: what a change has to pass
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/pytest -n $(PARALLEL) --dist loadfile -m "not slow" tests/unit tests/redis

fmt: $(DEV) ## format and repair what ruff can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(DEV) ## run the benchmarks
	$(BIN)/python -m bench

chaos: $(DEV) ## kill everything at random and count what is lost: SECONDS=60 SEED= LEASE=3 REDIS=
	@$(BIN)/python -m tests.chaos.run --seconds $(or $(SECONDS),60) --lease $(or $(LEASE),3) \
	  $(if $(SEED),--seed $(SEED)) $(if $(REDIS),--redis-server $(REDIS)) $(CHAOS)

screenshots: $(DEV) ## take the pictures in docs/img again (needs Chromium)
	$(BIN)/python docs/screenshots.py

clean: ## remove .venv and caches; conversations in .threadway stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- set-up: each stamp is as new as what it was made from, so a second call does nothing ---

# --inexact keeps what the other stamp, or you, installed; `make clean` starts over. Progress goes to stderr: the
# one line that `threadway up` writes to stdout stays alone there.
$(VENV)/.run: pyproject.toml uv.lock $(VENV)/.uv-$(UV_VERSION)
	@echo "installing threadway into $(VENV) ..." >&2
	@$(UV) >&2
	@touch $@

$(DEV): pyproject.toml uv.lock $(VENV)/.uv-$(UV_VERSION)
	@echo "installing threadway and its development tools into $(VENV) ..." >&2
	@$(UV) --group dev $(if $(BROWSER),--group e2e) >&2
	@touch $@ $(VENV)/.run

RECENT := import sys; sys.exit(sys.version_info < (3, 11))

$(VENV)/.uv-$(UV_VERSION):
	@set -eu; \
	if ! { $(BIN)/python -c '$(RECENT)' && $(BIN)/python -c 'import pip'; } 2>/dev/null; then \
	  python=; bare=; \
	  for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	    "$$candidate" -c '$(RECENT)' 2>/dev/null || continue; \
	    if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	    bare=$${bare:-$$candidate}; \
	  done; \
	  if [ -z "$$python" ] && [ -n "$$bare" ]; then \
	    version=$$("$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "threadway: $$bare has no venv module, which Debian and Ubuntu keep in a package of its own." >&2; \
	    echo "           apt install python3-venv   (or python$$version-venv), then try again." >&2; \
	    exit 1; \
	  elif [ -z "$$python" ]; then \
	    echo "threadway: no Python 3.11 or newer among: $(or $(PYTHON),$(CANDIDATES))" >&2; \
	    echo "           Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "making $(VENV) with $$("$$python" --version) ..." >&2; \
	  "$$python" -m venv --clear $(VENV); \
	fi; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)" >&2; \
	touch $@
