# `make serve` runs the service, `make test` the tests, bare `make` lint, types and tests. Needs Python 3.11 or newer.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?=
PREVIEW_MODEL ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
SERVE := $(VENV)/.serve-ready
DEV := $(VENV)/.dev-ready
CLIENTS := tests/clients/node_modules/.package-lock.json

# A Linux machine without an NVIDIA driver takes PyTorch's CPU build, which is gigabytes smaller.
TORCH_INDEX ?= $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1 && echo https://download.pytorch.org/whl/cpu)

.DEFAULT_GOAL := all
.PHONY: all serve test clients lint types format screenshots bench clean help

all: lint types test  ## lint, types and tests

serve: $(SERVE)  ## start the service (PORT=8000 MODEL=folder-or-hub-id ARGS="--batching call ...")
	@exec $(BIN)/latentcast serve --host $(HOST) --port $(PORT) $(if $(MODEL),--model $(MODEL)) $(if $(PREVIEW_MODEL),--preview-model $(PREVIEW_MODEL)) $(ARGS)

test: $(DEV)  ## run the tests (ARGS="-k name" for some of them)
	@echo "Running the tests"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

clients: $(CLIENTS)  ## install the JavaScript clients that some tests run (needs npm)

lint: $(DEV)  ## ruff: rules and formatting
	@echo "Checking style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV)  ## mypy, strict
	@echo "Checking types"
	@$(BIN)/mypy

format: $(DEV)  ## let ruff fix and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

screenshots: $(DEV)  ## take the pictures of the page that are in docs/ (needs Chromium)
	@LATENTCAST_SCREENSHOTS=1 LATENTCAST_REQUIRE_TOOLS=1 $(BIN)/python -m pytest tests/web/test_screenshots.py

bench: $(DEV)  ## compare the ways to serve on this machine, in short (some minutes)
	@$(BIN)/python -m benchmarks.compare --short --output out $(ARGS)

clean:  ## remove the virtual environment, caches and outputs
	@echo "Removing $(VENV), caches and outputs"
	@rm -rf $(VENV) tests/clients/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist out
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 10

$(VENV)/.torch-ready: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Latentcast needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Choose another: make PYTHON=python3.12")'
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch (the largest part: a few minutes on a slow line)"
	@$(PIP) --no-deps $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(SERVE): $(VENV)/.torch-ready pyproject.toml
	@echo "Installing Latentcast and its libraries (about a minute)"
	@$(PIP) --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(SERVE)
	@echo "Installing the development tools"
	@$(PIP) --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(CLIENTS): tests/clients/package-lock.json
	@echo "Installing the JavaScript clients"
	@cd tests/clients && npm ci --silent --no-audit --no-fund
	@touch $@
