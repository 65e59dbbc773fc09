# The few commands that users and developers of Gauntlet need. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
SETUP := $(PYTHON) scripts/setup.py
REFERENCE := .deps/reference/bin/python

.PHONY: help demo test lint build setup reference reference-env bench bench-dispatch bench-scaling agreement simulate chaos sqlx check-tools check-python

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## set up, build and run the quickstart sweep: does pre-training transfer non-robustness?
	$(TARGET)/release/gauntlet run sweeps/quickstart.toml

test: check-tools setup ## set up and run every test
	@$(SETUP) python
	$(CARGO) build --locked --workspace --bins
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --locked --workspace --no-fail-fast; \
	    if grep -rqE '^\s*//[/!] ```(rust|no_run|should_panic)?$$' --include='*.rs' --exclude-dir=target .; then \
	        $(CARGO) test --locked --workspace --doc; \
	    fi; \
	else \
	    set -x; $(CARGO) test --locked --workspace --no-fail-fast; \
	fi

lint: check-tools check-python ## formatting, clippy, licences and sources of the dependencies
	@$(SETUP) libtorch
	@$(SETUP) tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@# cargo-deny looks at the packages of every platform, so those that were not built have to be here too.
	$(CARGO) fetch --locked --quiet
	PATH="$(CURDIR)/.deps/tools:$$PATH" $(CARGO) deny --offline --locked check licenses bans sources

build: check-tools setup ## optimised build of all programs
	$(CARGO) build --locked --release -p gauntlet-cli -p gauntlet-executor

setup: check-python ## bring libtorch, Postgres and the data, pinned and checksummed; nothing to do when there
	@$(SETUP) libtorch
	@$(SETUP) postgres
	@$(SETUP) data

sqlx: check-tools setup ## check every query against a fresh database and rewrite .sqlx/
	CARGO=$(CARGO) scripts/sqlx-prepare.sh

reference: reference-env ## recompute the golden values with PyTorch and the published attacks, and compare (downloads some GB)
	@set -e; for script in lab/tests/reference/make_golden.py lab/tests/reference/golden_*.py data/tests/reference/golden_*.py; do \
	    echo "$$script"; $(REFERENCE) "$$script" --check; \
	done

bench: reference-env setup ## speed and memory beside torchattacks, AutoAttack and torchvision's DataLoader
	$(CARGO) build --locked --release -p gauntlet-lab --example attack_speed
	$(CARGO) build --locked --release -p gauntlet-data --example image_loading
	$(REFERENCE) scripts/bench/attacks.py speed --binary $(TARGET)/release/examples/attack_speed
	$(REFERENCE) scripts/bench/image_loading.py --binary $(TARGET)/release/examples/image_loading

bench-dispatch: check-tools ## the queue under load beside pgbench, graphile-worker and pg-boss (20 minutes; DISPATCH="--only flush,throughput" for less)
	@$(SETUP) postgres
	@$(SETUP) peers
	$(CARGO) build --locked --release -p gauntlet-cli -p gauntlet-coordinator -p gauntlet-postgres \
	    --bin gauntlet --example noop_worker --example with-database
	$(PYTHON) scripts/bench/dispatch.py $(DISPATCH)

bench-scaling: build ## a large attack in shards on 1, 2 and 4 workers; a mixed sweep with and without ordering by cost
	$(PYTHON) scripts/bench/scaling.py shards --gauntlet $(TARGET)/release/gauntlet
	$(PYTHON) scripts/bench/scaling.py order --gauntlet $(TARGET)/release/gauntlet

simulate: ## the scheduler's decisions under 10,000 seeds of crashes, partitions and outages, on a virtual clock
	GAUNTLET_SIMULATION_SEEDS=10000 $(CARGO) test --locked --release -p gauntlet-domain --test simulation -- --nocapture

chaos: check-tools setup ## 120 faults on a sweep of 200 tasks: the table of an undisturbed run, to the byte
	$(CARGO) build --locked --workspace --bins
	GAUNTLET_STORM_FAULTS=120 GAUNTLET_STORM_SWEEP=storm.toml $(CARGO) test --locked -p gauntlet-cli --test storm -- --nocapture

agreement: reference-env setup ## robust accuracies of random attacks beside those of their references, over seeds (an hour)
	$(CARGO) build --locked --release -p gauntlet-lab --example attack_speed
	$(REFERENCE) scripts/bench/attacks.py agreement --binary $(TARGET)/release/examples/attack_speed

reference-env: check-python
	@test -x $(REFERENCE) || $(PYTHON) -m venv .deps/reference
	@$(REFERENCE) -m pip install --quiet -r lab/tests/reference/requirements.txt
	@$(REFERENCE) -m pip install --quiet --no-deps -r lab/tests/reference/requirements-corruptions.txt
	@# Its model definitions alone are read; what it depends on is not needed.
	@$(REFERENCE) -m pip install --quiet --no-deps robustbench==1.1.1

check-python:
	@command -v $(PYTHON) >/dev/null \
	    || { echo "make: $(PYTHON) was not found; install Python 3.9 or newer with pip (apt-get install python3 python3-pip)" >&2; exit 1; }
	@$(PYTHON) -c 'import pip' 2>/dev/null \
	    || { echo "make: $(PYTHON) has no pip; install it (apt-get install python3-pip)" >&2; exit 1; }

check-tools: check-python
	@command -v $(CARGO) >/dev/null \
	    || { echo "make: $(CARGO) was not found; install the Rust toolchain that rust-toolchain.toml names, with rustup" >&2; exit 1; }
	@$(CARGO) --version >/dev/null \
	    || { echo "make: the Rust toolchain of rust-toolchain.toml is not installed; run: rustup toolchain install" >&2; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || test -n "$${CXX:-}" \
	    || { echo "make: no C++ compiler was found, and libtorch's binding needs one; install one (apt-get install g++)" >&2; exit 1; }
