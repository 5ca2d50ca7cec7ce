# make run    a whole small mail site, embedded, on loopback
# make test   everything
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test check bench man dashboards clean

run: $(VENV)/.ready
	@$(BIN)/popular-demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m 'not alone' --durations 10
	$(BIN)/python -m pytest -m alone --durations 10

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(BIN)/python -m tests.bench

man: $(VENV)/.ready
	$(BIN)/python -m deploy.man

dashboards: $(VENV)/.ready
	$(BIN)/python -m deploy.grafana

clean:
	rm -rf $(VENV) build dist tests/bench/bin .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# pip before 25.1 does not know dependency groups, so the environment brings its own pip first.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@
