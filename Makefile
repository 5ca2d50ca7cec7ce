# make run       a whole small mail site, embedded, on loopback
# make programs  the programs, in .venv/bin: what running needs and no more
# make quick     the tests that start no process: less than a minute
# make test      all tests
# make pure      the quick tests once more, the transcripts on the pure machine among them, in pure Python (POPULAR_PURE=1)
# make core      compiles the hot modules anew, where their sources have changed
# make trained   the same by a profile: what some hundred sessions ran through lies close together; some 5 minutes
# make check     style, types, imports
# make bench     what a session costs, beside the proxies that are installed: 25 minutes on a machine with nothing else to
#                do; BENCH=--results writes it into tests/bench/RESULTS.md and the README; bench-quick: less than one
# make sanitize  the core under gcc's sanitizers: transcripts, attacks on TLS, ten minutes of mutated dialogues
# make deb       the Debian package, in build/deb
# make nightly   what takes long: sanitizers, 200,000 sessions, tests marked nightly, other Pythons, the Debian package
# make coverage  all tests once more, and which lines none of them runs
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST ?= $(BIN)/python -m pytest

WORKERS ?= auto
# So many files of tests that load the machine at once: 0 is one after the other.
FEW ?= 0
MINUTES ?= 10
BESIDE := --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

TYPED  := $(sort $(shell find supervisor popular -name '*.p[xy][dx]' 2>/dev/null))
SOURCES := $(wildcard setup.py supervisor/compiled.py) $(TYPED) $(addsuffix .py,$(basename $(TYPED)))
TELL   := @$(BIN)/python -c 'from supervisor import compiled; compiled.tell()'

.PHONY: run programs quick test pure core trained coverage check sanitize deb nightly bench bench-quick man dashboards diagrams clean always

# The first line of a script can name no interpreter with a blank in its path.
ifneq ($(words $(CURDIR)),1)
$(error the path of this folder, "$(CURDIR)", has a blank in it: move it to another place)
endif

run: $(VENV)/.programs
	@$(BIN)/popular-demo

programs: $(VENV)/.programs

quick: $(VENV)/.tools $(VENV)/.core
	$(PYTEST) $(BESIDE) -m quick

# A later part tells more than the failure of an earlier one did, so all of them run in any case.
test: $(VENV)/.tools $(VENV)/.core
	@failed=0; set -x; \
	$(PYTEST) $(BESIDE) -m 'not few and not alone and not nightly' --durations 10 || failed=1; \
	$(PYTEST) --numprocesses $(FEW) --dist loadfile -m 'few and not nightly' --durations 5 || failed=1; \
	$(PYTEST) -m 'alone and not nightly' --durations 5 || failed=1; \
	{ set +x; } 2>/dev/null; exit $$failed

# Whoever reads the sources reads the same ones in either form; but for the test that this is the pure one.
pure: $(VENV)/.tools
	POPULAR_PURE=1 $(PYTEST) $(BESIDE) -m quick --ignore-glob 'tests/architecture/test_[!c]*'

core: $(VENV)/.core

trained: $(VENV)/.trained

# In pure Python: of compiled modules no line could be told.
coverage: export POPULAR_PURE := 1
coverage: $(VENV)/.tools
	$(BIN)/coverage erase
	-POPULAR_TEST_PATIENCE=$${POPULAR_TEST_PATIENCE:-4} $(BIN)/coverage run -m pytest $(COVERED)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Watched code is slow, in whatever part of it.
sanitize: $(VENV)/.tools $(VENV)/.core
	POPULAR_TEST_PATIENCE=$${POPULAR_TEST_PATIENCE:-5} $(BIN)/python -m tests.sanitize --minutes $(MINUTES)

deb:
	deploy/debian/build

# It installs first what the tools are built with.
nightly:
	.ci/nightly

bench: $(VENV)/.trained
	$(BIN)/python -m tests.bench $(BENCH)

bench-quick: $(VENV)/.tools $(VENV)/.core
	$(BIN)/python -m tests.bench --quick $(BENCH)

man: $(VENV)/.tools
	$(BIN)/python -m deploy.man
	$(BIN)/python -m deploy.completions

dashboards: $(VENV)/.tools
	$(BIN)/python -m deploy.grafana

diagrams: $(VENV)/.tools
	$(BIN)/python -m deploy.sessions

clean:
	find supervisor popular -name '*.so' -delete
	rm -rf supervisor/compiled.*.txt $(VENV) build dist tests/bench/bin .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# What running needs: 50 MB.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	$(TELL)
	@touch $@

# The names of what is compiled: a file that is gone is younger than nothing, so their list is a source as well, looked at
# each time and written when it is another.
$(VENV)/.sources: always | $(VENV)/.ready
	@echo $(TYPED) > $@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# After `git pull`, too: a compiled form that is older than its sources is not used.
$(VENV)/.programs: $(SOURCES) $(VENV)/.sources $(VENV)/.ready
	@$(BIN)/python -c 'from supervisor import compiled; raise SystemExit(not (compiled.hindrance() or compiled.up_to_date()))' || \
	    { $(BIN)/python -m pip install --quiet --editable . && $(BIN)/python -c 'from supervisor import compiled; compiled.tell()'; }
	@touch $@

# The hot modules, compiled; without a compiler or Python's headers nothing is made, and that is said.
$(VENV)/.core: $(SOURCES) $(VENV)/.sources $(VENV)/.tools
	@$(BIN)/python -c 'from supervisor import compiled; raise SystemExit(not compiled.up_to_date())' || \
	    { $(BIN)/python setup.py --quiet build_ext --inplace && $(BIN)/python -c 'from supervisor import compiled; compiled.tell()'; }
	@touch $@

# The same, by what was counted in the sessions of a small site (deploy/training); .core is then up to date, too. Where
# nothing can be compiled, or POPULAR_PURE=1 is set, there is nothing to train.
$(VENV)/.trained: $(SOURCES) $(VENV)/.sources $(wildcard deploy/training/*.py) $(VENV)/.tools
	@set -e; if $(BIN)/python -c 'from supervisor import compiled; raise SystemExit(not compiled.hindrance())'; then exit; fi; \
	set -x; rm -rf build/counting; \
	POPULAR_PROFILE=collect $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/counting .; \
	$(BIN)/python -m deploy.training --core build/counting; \
	POPULAR_PROFILE=build/training $(BIN)/python setup.py --quiet build_ext --inplace; \
	touch $(VENV)/.core $@
	$(TELL)

# What tests and checks need besides. pip before 25.1 does not know dependency groups, so a newer one comes first.
$(VENV)/.tools: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	@$(BIN)/python -m pip install --quiet --group ldap 2>/dev/null || \
	    echo "python-ldap could not be built (libldap-dev, libsasl2-dev): what needs it is left out"
	@touch $@
