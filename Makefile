# `make lab` and `make test` work from a clean clone with Python 3.11 to 3.13.
VENV := .venv
BIN := $(VENV)/bin
DRAWINGS := $(filter-out figures/screenshots.py,$(wildcard figures/*.py))

# The first Python here that the course runs on; `make lab PYTHON=...` chooses another.
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,\
	$(shell $(name) -c '$(SUITABLE)' 2>/dev/null && echo $(name))))

.PHONY: help lab install test matrix lessons site figures screenshots lint constraints clean

help:
	@echo "make lab          open the course in JupyterLab (installs it the first time)"
	@echo "make test         run every test (installs what they need the first time)"
	@echo "make install      fill $(VENV) with the pinned packages"
	@echo "make matrix       ask the checker about right and wrong answers to every exercise"
	@echo "make lessons      build the notebooks from lessons/source"
	@echo "make site         build build/site, the solved lessons as web pages"
	@echo "make figures      draw the figures of README and lessons"
	@echo "make screenshots  photograph JupyterLab for the README"
	@echo "make lint         check style and imports"
	@echo "make constraints  rewrite constraints.txt from $(VENV)"
	@echo "make clean        remove $(VENV) and caches; work/ stays"

lab: install
	$(BIN)/tlab lab

install: $(VENV)/installed

test: $(VENV)/installed-test
	$(BIN)/python tests/run.py

matrix: $(VENV)/installed-test
	$(BIN)/python -m tests.course.matrix

lessons: $(VENV)/installed-test
	$(BIN)/python lessons/build.py

site: $(VENV)/installed-site
	$(BIN)/python website/build.py

figures: $(VENV)/installed-test
	set -e; for script in $(DRAWINGS); do echo $$script; $(BIN)/python $$script; done

screenshots: $(VENV)/installed-test
	$(BIN)/python -m figures.screenshots

lint: $(VENV)/installed-test
	$(BIN)/python tests/run.py --lint

constraints: $(VENV)/installed-test
	$(BIN)/python tests/pins.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than a changed requirement, so only a change installs again.
$(VENV)/installed: requirements.txt constraints.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -r requirements.txt -c constraints.txt -e .
	@touch $@

$(VENV)/installed-site: requirements-site.txt $(VENV)/installed
	$(BIN)/python -m pip install -r requirements-site.txt -c constraints.txt
	@touch $@

$(VENV)/installed-test: requirements-test.txt $(VENV)/installed-site
	$(BIN)/python -m pip install -r requirements-test.txt -c constraints.txt
	@touch $@

# A half-made environment would pass for a whole one the next time.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found:" \
	  "install one, or name it: make lab PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
