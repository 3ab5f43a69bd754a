# The menu. Every target sets up its own environment when it is missing or out of date.
#
#   make demo          the whole story on real text, with no network
#   make check         format, lint, types and the fast tests: under two minutes
#   make test          every test
#   make lowest        the fast tests with the lowest versions that pyproject.toml allows, in an environment of their own (6 GB)
#   make bench         speed against the plain tools
#   make reliability   kills, full disks, broken files, fuzzing: the long form, 15 to 30 minutes (ARGS=--short for a minute of it; ARGS='--only fuzz-readers')
#   make site          the documentation as a site, in build/site
#   make sbom          the packages of an installation, with versions and licences (CycloneDX), in build/release
#   make audit         the same packages held against the known vulnerabilities; asks a service on the network
#   make accept        lists the published figures' chapters with their minutes; measures ARGS="CHAPTER ..." (or ARGS=all) and writes docs/results

PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
TESTFLAGS ?= -n 2 --dist worksteal

# Make 3.81, which macOS has, knows no --output-sync.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: demo test check types fast lowest bench reliability accept site sbom audit install
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

# Before the tools of development are there, what a plain `pip install .` brings has to be enough for a whole story.
LOWEST ?= .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed

$(LOWEST_STAMP): pyproject.toml tests/lowest.py
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet packaging
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/pins.txt
	$(LOWEST)/bin/pip install --quiet -c $(LOWEST)/pins.txt -e .
	$(LOWEST)/bin/pretune --help > $(LOWEST)/help.txt
	$(LOWEST)/bin/pretune list --tasks > $(LOWEST)/tasks.txt
	$(LOWEST)/bin/pretune demo --quiet --minutes 0.05 --labels 60 --out $(LOWEST)/demo
	$(LOWEST)/bin/pip install --quiet -c $(LOWEST)/pins.txt -e '.[dev]'
	touch $@

lowest: $(LOWEST_STAMP)
	$(LOWEST)/bin/python -m pytest -m "not slow" $(TESTFLAGS)

bench: $(STAMP)
	$(VENV)/bin/python -m benchmarks

reliability: $(STAMP)
	$(VENV)/bin/python tests/reliability/harness.py $(ARGS)

accept: $(STAMP)
	$(VENV)/bin/python -m acceptance run $(ARGS)

site: $(STAMP)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[docs]'
	$(VENV)/bin/python -m website

# What a user gets: pretune and what it needs, without the tools of development, in the versions that the tests were last run with.
RELEASE := build/release
RELEASED := $(RELEASE)/.installed

$(RELEASED): pyproject.toml constraints.txt
	rm -rf $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)/env
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/pip install --quiet 'cyclonedx-bom>=7.5,<8' 'pip-audit>=2.10,<3'
	$(RELEASE)/env/bin/pip install --quiet -c constraints.txt .
	$(RELEASE)/env/bin/pip freeze --exclude pretune > $(RELEASE)/requirements.txt
	# Installed once more from its wheel, as pip keeps the path of a folder, which nobody else should read in the list.
	$(RELEASE)/env/bin/pip wheel --quiet --no-deps --wheel-dir $(RELEASE)/wheel .
	$(RELEASE)/env/bin/pip install --quiet --no-deps --no-index --find-links $(RELEASE)/wheel --force-reinstall pretune
	touch $@

sbom: $(RELEASED)
	$(RELEASE)/tools/bin/cyclonedx-py environment $(RELEASE)/env/bin/python --pyproject pyproject.toml --mc-type library --output-reproducible --validate -o $(RELEASE)/pretune.cdx.json

# --strict: a package that cannot be looked up fails, and is not passed over. --no-deps: all of them are in the list already.
audit: $(RELEASED)
	$(RELEASE)/tools/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r $(RELEASE)/requirements.txt
