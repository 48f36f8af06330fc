# Quell. Every target works on a fresh machine that has make and Python 3.11 or newer.

VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/build.txt requirements/run.txt
DEV_LOCKS := requirements/build.txt requirements/dev.txt

# The folder is part of the name: a .venv that came with a copied folder is made anew.
HERE := $(shell pwd | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(HERE)
DEV_READY := $(VENV)/.dev-ready-$(HERE)

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage check lint types floors format bench bench-readme reference pictures torture lock monitoring clean system-packages

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name what; do printf '  make %-13s %s\n' "$$name" "$$what"; done

setup: $(READY) ## .venv with the program in it, as .venv/bin/quell

run: $(READY) ## start: in front of OPENAI_BASE_URL when OPENAI_API_KEY is set, else with the demo upstream; ARGS="--listen HOST:PORT"
	@if [ -n "$${OPENAI_API_KEY:-}" ]; then exec $(BIN)/quell run $(ARGS); else exec $(BIN)/quell demo $(ARGS); fi

test: system-packages $(DEV_READY) ## every check and every test; the same as .ci/run
	@$(MAKE) --no-print-directory --keep-going check; checks=$$?; \
	$(TESTS) && exit $$checks

# Many tests wait for somebody, so one more than there are processors keeps these at work.
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
TESTS = $(BIN)/python -m pytest --numprocesses $(shell expr $(PROCESSORS) + 1) --maxprocesses 4 --dist worksteal

coverage: system-packages $(DEV_READY) ## the tests, and which lines they reach
	$(TESTS) --cov --cov-report=term:skip-covered

check: lint types floors ## lint, format, types, floors

lint: $(DEV_READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV_READY)
	$(BIN)/mypy

floors: $(DEV_READY)
	$(BIN)/lint-imports

format: $(DEV_READY) ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(DEV_READY) system-packages ## the benchmarks: Quell beside nginx and a plain aiohttp hop
	@mkdir -p .quell
	$(BIN)/python tests/bench/run.py --markdown .quell/bench.md

bench-readme: bench ## the benchmarks, and their table into README.md
	sed -i -e '/^<!-- bench -->$$/,/^<!-- \/bench -->$$/{//!d}' -e '/^<!-- bench -->$$/r .quell/bench.md' README.md

reference: $(DEV_READY) ## the reference pages in deploy/docs/reference, from the code
	$(BIN)/python tests/reference/write.py

pictures: $(DEV_READY) system-packages ## the docs' pictures, from the real page
	$(BIN)/python tests/browser/pictures.py deploy/docs/pictures

torture: $(DEV_READY) system-packages ## kills, power cuts, tenants, outages of PostgreSQL and the bus (an hour and a half); ARGS="--only PART"
	$(BIN)/python tests/torture/run.py $(ARGS)

lock: ## the lock files, from pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra tokens --extra vocabularies --extra distributed -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra dev -c requirements/run.txt -c requirements/build.txt -o requirements/dev.txt

monitoring: ## the alert rules for the Prometheus operator, from deploy/prometheus/rules.yml
	@{ sed '/^spec:$$/q' $(OPERATOR_RULES); sed -e '/^#/d' -e 's/^./  &/' deploy/prometheus/rules.yml | sed '/./,$$!d'; } > $(OPERATOR_RULES).new
	@mv $(OPERATOR_RULES).new $(OPERATOR_RULES)

OPERATOR_RULES := deploy/kubernetes/components/monitoring/prometheusrule.yaml

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-strip-extras --custom-compile-command 'make lock' $(UPGRADE)

clean: ## away with .venv and everything that was made
	rm -rf $(VENV) .quell dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@.ci/system-packages

$(READY): .ci/venv pyproject.toml $(LOCKS)
	@.ci/venv $(LOCKS)
	@touch $@

$(DEV_READY): .ci/venv pyproject.toml $(DEV_LOCKS)
	@.ci/venv $(DEV_LOCKS)
	@touch $@
