# Every verb does its own set-up; `make help` lists them. Needs: python3 >= 3.11 with venv, git, make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
TORCH_VERSION := 2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.holdfast
# The checkout's own venv, whatever is active in the caller's shell.
unexport VIRTUAL_ENV
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
export UV_PYTHON_DOWNLOADS := never
# A company's own certificate authority is known to the system, not to uv.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= 1
endif

.PHONY: help dev check test demo bench bench-serve bench-trees bench-variants torture soak seeds quiet fuzz docs docs-reference docs-matrix system-deps

help:  ## list these verbs
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/' | expand -t 20

dev: $(STAMP)/dev  ## a .venv with holdfast and every tool of its developers
	@echo "ready: $(BIN)/holdfast --help"

check: $(STAMP)/dev  ## before each commit: format, lint, types, imports, licences, fast tests, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zensical build --clean --strict >/dev/null
	$(BIN)/pytest $(wildcard tests/unit tests/laws) -q -n auto -m "not slow"

test: $(STAMP)/dev $(STAMP)/dvc  ## all tests, with Chromium where it is or may be installed
	@.ci/system-deps --soft
	$(BIN)/pytest -q -n auto --dist loadgroup

demo: $(STAMP)/demo  ## the story: a model goes to production and is held there (about two minutes)
	$(BIN)/holdfast demo

bench: $(STAMP)/dev  ## speed and memory of the serving path, speed of the trees
	$(BIN)/python -m bench

bench-serve: $(STAMP)/dev  ## the same beside its peers, each in its own environment (.bench/); half an hour
	$(BIN)/python -m bench.serve $(BENCH)

bench-variants: $(STAMP)/dev  ## what optimising a network buys, on MNIST (HOLDFAST_TEST_DATA); some minutes
	$(BIN)/python -m bench.variants $(HOLDFAST_TEST_DATA) --write docs/explanation/optimising.md

bench-trees: $(STAMP)/dev  ## exact trees beside the models' own libraries, stock converters, treelite and TL2cgen; minutes
	$(BIN)/python -m bench.trees $(BENCH)

torture: $(STAMP)/dev  ## kills, swaps, floods and faults by the thousand against real servers (half an hour and more)
	$(BIN)/python -m bench.torture

MINUTES ?= 120
soak: $(STAMP)/dev  ## a long run at a steady pace: make soak MINUTES=120
	$(BIN)/python -m bench.torture.soak $(MINUTES)

seeds: $(STAMP)/dev  ## the demo's scoreboard over 20 seeds
	$(BIN)/python bench/seeds.py

quiet: $(STAMP)/dev  ## false alarms of quiet worlds against the stated rate
	$(BIN)/python bench/quiet.py

fuzz: $(STAMP)/dev  ## 200 000 requests that nobody should send, over HTTP and gRPC, against a real server
	$(BIN)/python -m bench.torture.fuzz

docs: $(STAMP)/dev  ## the documentation as a site, in site/
	$(BIN)/zensical build --clean --strict

docs-reference: $(STAMP)/dev  ## the pages of docs/reference that are read off the code
	$(BIN)/python tests/docs/reference.py

docs-matrix: $(STAMP)/dev  ## the page of what can be built, from building and serving all of it
	$(BIN)/python -m tests.integration.matrix

system-deps:  ## install the Debian packages that the tests drive (root or passwordless sudo)
	@.ci/system-deps

# Set-up. The stamps live in the venv: remove it and all starts afresh; a second run does nothing.
$(STAMP)/uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'error: $(PYTHON) must be Python 3.11 or newer, with venv' >&2; \
	  echo 'next: apt-get install python3-venv, or name another: make PYTHON=python3.12 ...' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMP) && touch $@

# PyTorch comes by pip, which knows where a machine keeps CPU builds (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL); the lock names
# the registry's build, which brings CUDA.
$(STAMP)/dev: $(STAMP)/uv-$(UV_VERSION) pyproject.toml uv.lock
	@$(BIN)/uv sync --quiet --locked
	@$(BIN)/uv export --quiet --frozen --no-dev --extra torch --no-hashes --no-emit-project --no-header --no-annotate \
	  | sed -E '/^(torch|triton|cuda|nvidia)/d' > $(STAMP)/constraints.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(STAMP)/constraints.txt torch==$(TORCH_VERSION)
	@mkdir -p $(STAMP) && touch $@ $(STAMP)/demo

# The real DVC for the tests of lineage, beside the venv: its hundred packages are not ours. To lock a newer one:
# uv pip compile tests/dvc/requirements.in --universal --python-version 3.11 --generate-hashes --no-header -o tests/dvc/requirements.txt
$(STAMP)/dvc: $(STAMP)/uv-$(UV_VERSION) tests/dvc/requirements.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(STAMP)/dvc-env
	@$(BIN)/uv pip install --quiet --require-hashes --python $(STAMP)/dvc-env/bin/python -r tests/dvc/requirements.txt
	@touch $@

# --inexact: what `make dev` put there stays.
$(STAMP)/demo: $(STAMP)/uv-$(UV_VERSION) pyproject.toml uv.lock
	@$(BIN)/uv sync --quiet --locked --inexact --no-dev --extra demo --compile-bytecode
	@touch $@
