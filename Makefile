# make venv    the fast lane's environment: .venv, without ComfyUI
# make check   ruff, types, and the tests that need no ComfyUI; minutes on one core
# make test    everything, in a test bed that it makes itself: bash test.sh
PYTHON ?= python3
BIN ?= .venv/bin

.PHONY: venv check lint types fast test

venv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install torch==2.13.0
	$(BIN)/pip install --editable '.[training,test,judge]' pre-commit

check: lint types fast

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

# the plain command, not `python -m pytest`, which would make the clone's root importable
fast:
	$(BIN)/pytest -q -m "not comfyui and not slow" tests

test:
	bash test.sh
