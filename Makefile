# Every target makes its .venv first. PYTHON chooses the interpreter that makes it (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs tables real bench soak notebook clean
.DELETE_ON_ERROR:

demo: .venv/.installed ## the whole pipeline on the embedded default; results and report in outputs/
	$(BIN)/python run.py

test: .venv/.installed-test ## all tests, offline
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: .venv/.installed-lint ## ruff, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed-docs ## the site in outputs/site/; a broken link or a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

tables: .venv/.installed ## the tables of README.md and of the studies, from their frozen results
	$(BIN)/python experiments/tables.py --write

real: .venv/.installed ## the study's column of IPC 10 with one seed, on the CIFAR-10 in ROOT=<folder>
	$(BIN)/python experiments/real/study.py $(ROOT) --ipc 10 --seeds 1 --to outputs/real
	$(BIN)/python experiments/tables.py outputs/real

bench: .venv/.installed ## speed, as ratios within one run
	$(BIN)/python experiments/scoring_speed/bench.py
	$(BIN)/python experiments/student_speed/bench.py
	$(BIN)/python experiments/scoring_cost/levers.py
	$(BIN)/python experiments/scoring_cost/engine.py
	$(BIN)/python experiments/scoring_cost/million.py
	$(BIN)/python experiments/decoding/bench.py
	$(BIN)/python experiments/indexing/bench.py

soak: .venv/.installed-test ## scoring killed 20 times at random moments
	$(BIN)/pytest tests/fault/test_soak.py --kills 20

notebook: .venv/.installed-test ## the notebook again, with its pictures
	$(BIN)/jupyter execute --inplace notebooks/one_class.ipynb

clean: ## removes the environment and what runs left behind
	rm -rf .venv outputs store

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv/.installed-lint: .venv/.installed-test
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@
