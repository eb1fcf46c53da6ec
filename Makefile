# make venv    the virtual environment (.venv), from constraints.txt; instant when it is there
# make test    linter and the whole test suite, in two processes
# make demo    the main job end to end on real models: corpus, self-generation, training, evaluation, answers
# make lint    linter and format check alone;  make format  let ruff fix what it can
# make clean   remove build products and caches (keeps .venv and demo_output)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DEMO_DIR ?= demo_output
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.nemo_desta_installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: venv test demo lint format clean

venv: $(STAMP)

$(STAMP): setup.py pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about 2 GB to fetch, several minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=24"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

demo: $(STAMP)
	$(BIN)/nemo-desta demo --output-dir $(DEMO_DIR)

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find nemo_desta examples tests -name __pycache__ -type d -prune -exec rm -rf {} +
