# Everything a person types. A .venv is built on first use with python3 -m venv and pip; nothing else is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=deploy/constraints.txt $(BIN)/pip install --quiet

# A variable's value where the person gave it to make: what stands in the environment, such as a desktop's LANGUAGE, is
# not meant for us.
asked = $(if $(filter command line,$(origin $(1))),$($(1)))

.DEFAULT_GOAL := help
.PHONY: help run test check bench fuzz format grafana clean constraints wheelhouse

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run SECONDS=90               plays the story once, prints a summary, exits 0 only if it held"
	@echo "  make run CLOCK=unsynchronised     the same network, and what can be proven without any clock"
	@echo "  make run PROMETHEUS=1             a real Prometheus between agents and collector (prometheus on the PATH)"
	@echo "  make run LANGUAGE=en              the terminal in English; goes with any of these"
	@echo "  make run GRAFANA=1                that, and its dashboards in Grafana, or how to point yours at them"

run: $(VENV)/.run ## watch real packets measured, judged and alerted on, on loopback
	@exec $(BIN)/python -m deploy.quickstart $(if $(call asked,SECONDS),--seconds $(SECONDS)) \
	  $(if $(call asked,CLOCK),--clock $(CLOCK)) $(if $(filter-out 0 no,$(call asked,PROMETHEUS)),--prometheus) \
	  $(if $(filter-out 0 no,$(call asked,GRAFANA)),--grafana) \
	  $(if $(call asked,LANGUAGE),--lang $(LANGUAGE))

test: $(VENV)/.dev ## run the tests; what needs a missing system package is skipped and named
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.dev ## lint, format, types, layer rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## measure; prints a table and writes build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

fuzz: $(VENV)/.fuzz ## look for inputs that break a parser, a minute each; ARGS="candm --seconds 600" for one
	$(BIN)/python -m tests.fuzz $(ARGS)

format: $(VENV)/.dev ## rewrite the code in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

grafana: $(VENV)/.dev ## write grafana/dashboards anew from its source
	$(BIN)/python -m grafana.generate

constraints: ## renew deploy/constraints.txt with the newest versions
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet hatchling -e '.[dev,bench,fuzz]'
	{ sed -n '/^#/p' deploy/constraints.txt; build/constraints/bin/pip freeze --exclude-editable; } > build/constraints.txt
	mv build/constraints.txt deploy/constraints.txt && rm -rf build/constraints

wheelhouse: $(VENV)/.created ## collect all wheels in build/wheelhouse, to install without a network
	rm -rf build/wheelhouse
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip wheel --quiet --constraint deploy/constraints.txt --wheel-dir build/wheelhouse .

clean: ## remove everything that make has built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage *.egg-info

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.created pyproject.toml deploy/constraints.txt
	@echo "building .venv (once)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --editable '.[dev,bench]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) --editable '.[dev,bench,fuzz]'
	@touch $@
