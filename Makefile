# Needs Python 3.11 or newer, make and the network; everything it installs stays in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# The tests of one module stay on one worker: they share its fixtures. What measures time or memory runs alone afterwards.
PARALLEL := --quiet --numprocesses=auto --dist=loadfile --no-loadscope-reorder
MOST := $(PARALLEL) -m "not endurance and not serial"
SERIAL := --quiet -m "serial and not endurance"

# The tests start hundreds of processes. Without cached bytecode each of them compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test endurance check lint types contracts drift coverage generate bench fuzz mutants soak image-test audit lock wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /' | awk -F': ' '{printf "%-12s %s\n", $$1, $$2}'

$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "modelarts-exporter needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## simulator and exporter in the foreground: http://127.0.0.1:10310/
	@exec $(BIN)/modelarts-exporter demo

test: $(READY) ## every test but those of endurance; five minutes on two cores
	$(BIN)/pytest $(MOST)
	$(BIN)/pytest $(SERIAL)

endurance: $(READY) ## the long tests (kills, days of accounting, fuzzing, two hours of the soak)
	$(BIN)/pytest $(PARALLEL) -m "endurance and not serial"
	$(BIN)/pytest --quiet -m "endurance and serial"

check: lint types contracts drift coverage endurance ## what CI runs

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy on code, tests, dashboards and benchmarks
	$(BIN)/mypy

contracts: $(READY) ## import contracts
	$(BIN)/lint-imports

drift: $(READY) ## generated files are up to date
	$(BIN)/python docs/generate.py --check
	$(BIN)/python dashboards/generate.py --check
	$(BIN)/python helm/generate.py --check

coverage: $(READY) ## the tests of `make test`, and how much of the code they reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(MOST)
	$(BIN)/coverage run -m pytest $(SERIAL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

generate: $(READY) ## write all generated files
	$(BIN)/python docs/generate.py
	$(BIN)/python dashboards/generate.py
	$(BIN)/python helm/generate.py

bench: $(READY) ## ratios against prometheus-client and nginx; the duration of a start
	PYTHONPATH=. $(BIN)/python bench/render.py
	PYTHONPATH=. $(BIN)/python bench/serve.py
	PYTHONPATH=. $(BIN)/python bench/start.py

fuzz: $(READY) ## thousands of random responses, where endurance tries a hundred
	$(BIN)/pytest tests/fuzz --quiet -m endurance --hypothesis-profile=long --timeout=7200

# mutmut is no part of the other environment: `make mutants` adds it, from a lock file of its own.
$(VENV)/.mutants: $(READY) requirements-mutants.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-mutants.txt
	@touch $@

mutants: $(VENV)/.mutants ## mutation tests of the core, which take hours; of one module: MODULE=exporter/polling/ledger.py
	$(BIN)/python -m tests.mutants $(MODULE)

soak: $(READY) ## a simulated week of churn, faults and restarts in a quarter of an hour
	$(BIN)/python -m tests.soak

image-test: $(READY) ## build the image and run it without privileges
	$(BIN)/pytest tests/image/test_image.py --quiet -m endurance

audit: $(READY) ## known vulnerabilities of the dependencies; needs the network, never fails
	@{ $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3' \
	  && $(VENV)/audit/bin/pip-audit --requirement requirements.txt --require-hashes --disable-pip --progress-spinner off; } \
	  || echo "audit: findings above, or the database could not be reached; not a gate"

lock: $(READY) ## update the lock files from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --group dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --group build -o requirements-build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --constraint requirements-dev.txt --group mutants -o requirements-mutants.txt

wheel: $(READY) ## dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove installed and built files
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
