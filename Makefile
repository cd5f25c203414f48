# Needs make and Python 3.11 or newer; all else is installed into .venv.
# ARGS is handed on: make demo ARGS="--seeds 1", make test ARGS="tests/test_stats.py -x".

# The first of these that is new enough makes .venv; make PYTHON=/path/to/python names another.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
BIN := .venv/bin
INSTALLED := .venv/.osadbench-installed

.PHONY: help demo test lint types check clean

help:
	@echo "make demo    run DRA and DevNet on ELPV under the hard protocol"
	@echo "make test    run the tests"
	@echo "make lint    check style and format (ruff)"
	@echo "make types   check types (mypy)"
	@echo "make check   lint, types and test"
	@echo "make clean   remove .venv and what was built"

demo: $(INSTALLED)
	$(BIN)/osadbench run --methods dra,devnet --protocol hard $(ARGS)

# On all cores, by xdist; make test ARGS="-n 0" for one.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In the checkout, osadbench.methods is the folder methods, where mypy cannot find it; so it reads
# the package as it is installed, from inside the folder that holds it.
MYPY := ../../$(BIN)/mypy --config-file ../../setup.cfg --cache-dir ../../.mypy_cache

types: $(INSTALLED)
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cd build/types && $(MYPY) --package osadbench && $(MYPY) ../../tests ../../benchmarks

check: lint types test

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[demo,dev]"
	@touch $@

$(BIN)/python:
	@for name in $(PYTHON); do \
	    if $$name -c "$(NEW_ENOUGH)" 2>/dev/null; then \
	        $$name -m venv .venv && exit; rm -rf .venv; exit 1; \
	    fi; \
	done; \
	echo "no Python 3.11 or newer among: $(PYTHON)." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1
