# The menu. Every target sets up its own environment when it is missing or out of date.
#
#   make demo          the whole story on real text, with no network
#   make check         format, lint, types and the fast tests: under two minutes
#   make test          every test
#   make bench         speed against the plain tools
#   make reliability   kills, full disks, broken files, fuzzing: the long form, 15 to 30 minutes (ARGS=--short for a minute of it; ARGS='--only fuzz-readers')
#   make site          the documentation as a site, in build/site
#   make accept        lists the published figures' chapters with their minutes; measures ARGS="CHAPTER ..." (or ARGS=all) and writes docs/results

PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
TESTFLAGS ?= -n 2 --dist worksteal

# Make 3.81, which macOS has, knows no --output-sync.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: demo test check types fast bench reliability accept site install
.DEFAULT_GOAL := check

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(VENV)/bin/pretune demo

test: $(STAMP)
	$(VENV)/bin/python -m pytest $(TESTFLAGS)

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	+$(MAKE) --no-print-directory -j2 $(SYNC) types fast

types: $(STAMP)
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python src

fast: $(STAMP)
	$(VENV)/bin/python -m pytest -m "not slow" $(TESTFLAGS)

bench: $(STAMP)
	$(VENV)/bin/python -m benchmarks

reliability: $(STAMP)
	$(VENV)/bin/python tests/reliability/harness.py $(ARGS)

accept: $(STAMP)
	$(VENV)/bin/python -m acceptance run $(ARGS)

site: $(STAMP)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[docs]'
	$(VENV)/bin/python -m website
