# Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= python3
# PyTorch comes first, alone: which build it is (CPU or a CUDA version) is decided by the index it
# comes from, and the later installs keep the one they find.
TORCH ?= torch==2.13.0
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help ui test check format clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

ui: $(VENV)/installed ## set up, start the chat page and print its address
	$(BIN)/chatbot ui

test: $(VENV)/installed-dev ## set up and run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/installed-dev ## lint, format, types and tests, as a reviewer would
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

format: $(VENV)/installed-dev ## let ruff fix and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment
	rm -rf $(VENV)

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python %d.%d is too old: \
	install 3.11 or newer, then run: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_ARGS) "$(TORCH)"
	$(BIN)/pip install -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -e ".[dev]"
	touch $@
