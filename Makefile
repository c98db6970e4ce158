# make demo   install, then train GRPO and RLRT on the tiny model and compare them
# make test   install with the test tools, then every check; WORKERS=8 on a larger machine
# make system   the tests that start a SLURM, a Ray or a browser; skipped where it is not installed
# make lint   the checks that run no test
# make docs   build the docs site: site/index.html
# make gpu    what one GPU gives: right values, speed, memory; ten minutes at most
# make faults N=100         kill and resume 100 runs at random moments, and compare their ends
# make faults SEED=17 N=1   one of these trials alone
# make faults LAUNCHER=slurm   the same on a SLURM of two nodes that it starts (Debian, as root)
# make faults LAUNCHER=ray     the same on a Ray of two nodes that it starts
#
# Each makes .venv on first use and install again only where pyproject.toml or the
# constraints changed. PYTHON=... chooses another interpreter (3.11 or newer).

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# No compiling of all that is installed: Python compiles what is imported, a tenth of it.
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-compile
CONSTRAINTS := infra/constraints-cpu.txt
TORCH := torch==2.13.0
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

SYSTEM := tests/slurm tests/ray tests/browser

.PHONY: demo docs test system lint quick-lint gpu faults clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/lab run -m plugin=rlrt method=grpo,rlrt

# Of four processes two begin with tests of jobs and clusters, which mostly wait (tests/conftest.py).
WORKERS ?= 4
TYPES := $(BIN)/pyrefly check --python-interpreter-path $(BIN)/python
PARALLEL = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
test system: export OMP_NUM_THREADS ?= 1
# Hundreds of short processes start from these sources: each would compile them anew.
test system: export PYTHONDONTWRITEBYTECODE :=
test: quick-lint
	@$(TYPES) >$(VENV)/types.log 2>&1 & types=$$!; \
	$(BIN)/pytest $(PARALLEL) $(SYSTEM:%=--ignore=%); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/types.log; exit $$((tests + types))

# These mostly wait for the cluster, and Ray gives up where its agents get no processor.
system: WORKERS := 2
system: $(VENV)/.installed-test
	$(BIN)/pytest $(PARALLEL) $(SYSTEM)

lint: quick-lint
	$(TYPES)

quick-lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

gpu: $(VENV)/.installed
	PYTHONPATH="$(CURDIR)/benchmarks$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN)/python -m gpu

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs . site
	@echo "open site/index.html"

N ?= 12
SEED ?= 0
LAUNCHER ?= local
faults: $(VENV)/.installed-test
	PYTHONPATH="$(CURDIR)/tests/support$${PYTHONPATH:+:$$PYTHONPATH}" \
		$(BIN)/python -m campaign --launcher $(LAUNCHER) --trials $(N) --seed $(SEED) \
		$(if $(JOBS),--jobs $(JOBS))

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; PYTHON=... names one" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone: what follows then keeps the build that is there (CPU or CUDA).
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) -e . -c $(CONSTRAINTS)
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) -e '.[docs,test,marl,ray]' -c $(CONSTRAINTS)
	@# What the tests import is compiled here once, and not by each of their first processes.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q --collect-only >$(VENV)/collected.log 2>&1 \
		|| { tail -n 20 $(VENV)/collected.log; exit 1; }
	@touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) -e '.[docs]' -c $(CONSTRAINTS)
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
