# JobSync: everything one does with a checkout. `make` alone lists it.
# Nothing here writes to stdout but the command that was asked for; set-up talks on stderr.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help setup demo up test check bench docs lock test-long test-n8n soak browser dev

BIN := .venv/bin
ARGS ?=
WORKERS ?= 3
# The browser lane joins `make test` as soon as it has tests.
BROWSER := $(if $(wildcard tests/e2e/test_browser*.py),browser)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with the locked packages and .venv/bin/jobsync (works offline the second time)
	@requirements/install runtime

demo: setup ## Run the demo on simulated data; options: make demo ARGS='--once --json'
	@$(BIN)/jobsync demo $(ARGS)

up: setup ## Run JobSync: service, worker and schedule; options in ARGS
	@$(BIN)/jobsync up $(ARGS)

test: dev $(BROWSER) ## Run the tests; a part of them: make test ARGS='tests/db -k embedded'
	@$(BIN)/pytest -n $(WORKERS) -m "not long and not soak and not n8n" $(ARGS)

check: dev ## Lint, format, types and the house rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/pytest -q tests/house

bench: dev ## Run the benchmark; options in ARGS
	@if [ -f bench/__main__.py ]; then $(BIN)/python -m bench $(ARGS); \
	else echo "JobSync: this checkout has no benchmark." >&2; exit 1; fi

test-long: dev ## Run the tests that take minutes
	@$(BIN)/pytest -m long --timeout 1800 $(ARGS)

test-n8n: dev ## Run the n8n workflows in two real versions of n8n (installs them from npm, once)
	@requirements/n8n
	@$(BIN)/pytest -m n8n --timeout 3600 $(ARGS)

soak: dev ## Run the tests that take hours
	@$(BIN)/pytest -m soak --timeout 0 $(ARGS)

browser: ## Find a chromium for the browser tests, or install one (as root)
	@requirements/browser

docs: dev ## Build the documentation into build/site; a warning fails it
	@$(BIN)/python -m docs.site $(ARGS)

lock: dev ## Renew requirements/*.txt from requirements/*.in
	@for name in build runtime dev; do \
	    case $$name in dev) with="-c requirements/runtime.txt -c requirements/build.txt" ;; *) with= ;; esac; \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-emit-find-links --custom-compile-command "make lock" $(ARGS) $$with \
	        requirements/$$name.in -o requirements/$$name.txt >/dev/null || exit 1; \
	done

dev:
	@requirements/install dev
