# `make` alone lists the targets. Each makes the environment it needs by itself, see .ci/make_venv.
#   make PYTHON=/path/to/python3.12 ...   use this Python rather than the one found
#   make VENV=/path/to/folder ...         keep the environment there rather than in .venv

PYTHON ?=
VENV ?= .venv
AUDIO ?=
BIN := $(VENV)/bin
export PYTHON VENV AUDIO

.DEFAULT_GOAL := help
# Files of tests go to two processes; a fixture of a whole run is made in each that needs it.
PYTEST = $(BIN)/pytest -n 2 --dist loadfile

.PHONY: help quickstart test test-events test-slow lint format venv wheel wheel-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

quickstart: venv ## pre-train a tiny EAT in minutes; AUDIO=/a/folder: on your own recordings
	$(BIN)/python examples/quickstart.py $${AUDIO:+--audio "$$AUDIO"}

test: venv ## run the tests, without the slow ones
	$(PYTEST)

test-events: venv ## test metrics of events, with their libraries (400 MB, and a C compiler)
	$(BIN)/pip install -q -c constraints.txt -e '.[events]'
	$(BIN)/python -W ignore -c 'import sed_eval, sed_scores_eval'  # tests are skipped without them
	$(PYTEST) tests/evaluation tests/tasks

test-slow: venv ## run the slow tests only
	$(PYTEST) -m slow || [ $$? -eq 5 ]  # 5: no test is marked slow

lint: venv ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv ## repair what `make lint` complains of, as far as ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: ## make or update .venv with everything needed for training and development
	@.ci/make_venv

# Through the source distribution, so that a file missing from it cannot go unnoticed.
wheel: venv ## build dist/*.tar.gz and dist/*.whl
	rm -rf dist
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m build

wheel-check: wheel ## use the wheel in a fresh environment without fairseq
	.ci/check_wheel $(BIN)/python dist/*.whl

clean: ## remove what was built and cached, but neither .venv nor results
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find user_dir tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
