# The commands of development. `make` alone lists them; each needs nothing but Python 3.11+, and installs the rest.

VENV ?= .venv
RUN = $(VENV)/bin/python -m

# The first Python on PATH that is new enough. Looked for only by targets that install.
PYTHON = $(or $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; \
	done),$(error This needs Python 3.11 or newer on PATH as python3, python3.13, python3.12 or python3.11))

.DEFAULT_GOAL := help
.PHONY: help install run manage test test-sqlite test-postgres test-all lint types format messages screenshots bench clean clean-all

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1	/p' Makefile | expand -t 24

install: ## Create or update the virtual environment; the others do this first
	@$(PYTHON) -m tools.install $(VENV)

run: install ## Start the site with all it needs on http://127.0.0.1:8000; PORT=8001 takes another port
	@$(RUN) tools.dev run

manage: install ## Run manage.py as `make run` does: make manage ARGS="changepassword admin"
	@$(RUN) tools.dev manage $(ARGS)

test: install ## Check everything: lint, types, tests on SQLite and PostgreSQL; ARGS="-k name" goes to pytest
	@$(RUN) tools.check lint types sqlite postgres -- $(ARGS)

test-sqlite: install ## Run all tests, with SQLite
	@$(RUN) tools.check sqlite -- $(ARGS)

test-postgres: install ## Run the tests that use a database, with PostgreSQL
	@$(RUN) tools.check postgres -- $(ARGS)

test-all: ## Check everything with each Python that is installed: 3.11, 3.12, 3.13
	@$(MAKE) --no-print-directory --keep-going test-3.11 test-3.12 test-3.13

# Each in an environment of its own, where pip picks the newest Django for that Python: 5.2 for 3.11.
test-3.%:
	@if python3.$* --version >/dev/null 2>&1; \
		then $(MAKE) --no-print-directory test PYTHON=python3.$* VENV=.venv-3.$*; \
		else echo "python3.$* is not installed: skipped"; fi

lint: install ## Check the style
	@$(RUN) tools.check lint

types: install ## Check the types
	@$(RUN) tools.check types

format: install ## Put the code into the style, as far as ruff can
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

messages: install ## Update and compile the translations; edit hotdata/locale/…/django.po, then run it again
	@$(RUN) tools.messages $(ARGS)

screenshots: install ## Take the pictures of docs/images anew; ARGS="dashboard job" takes some
	@$(RUN) tools.screenshots $(ARGS)

bench: install ## Run the benchmarks
	@$(RUN) benchmarks $(ARGS)

clean: ## Remove environments and caches; the data in .local stays
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## Remove the data in .local, too
	rm -rf .local
