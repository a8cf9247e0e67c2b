# The one place of commands. Needs nothing but Python 3.11 or newer and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= auto
export NO_PROXY := 127.0.0.1,localhost

.DEFAULT_GOAL := help
.PHONY: help setup demo test prove mutate lint format bench bench-peers clean

help:             ## this list
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# The stamp is newer than pyproject.toml when the environment fits it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "hint: on Debian, 'apt-get install python3-venv' gives Python its venv module" >&2; exit 1; }
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[all]" --group dev
	@touch $@

# The official SDKs one major back: judges too, in an environment of their own.
.venv-previous/.ready: Makefile
	$(PYTHON) -m venv .venv-previous
	.venv-previous/bin/pip install --quiet "openai==2.54.0" "google-genai==2.34.0"
	@touch $@

setup: $(VENV)/.ready  ## make .venv and install everything into it

demo: setup       ## the main job: real reviews, a real model, the Batch protocol, no key
	$(BIN)/nono models pull smollm2-135m-instruct > /dev/null
	$(BIN)/python examples/demo.py

test: setup .venv-previous/.ready  ## all tests, in parallel
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

prove: setup      ## the reliability proof with all its histories: hours
	NONO_PROOF=full $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --timeout 0 tests/proof tests/system

# Mutation testing has an environment of its own: its tool brings much along. MUTANTS='*' takes all of them: hours.
MUTANTS ?= *__mutmut_*3
.venv-mutate/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-mutate
	.venv-mutate/bin/pip install --quiet --upgrade "pip>=25.1"
	.venv-mutate/bin/pip install --quiet -c constraints.txt -e ".[all]" --group dev --group mutate
	@touch $@

mutate: .venv-mutate/.ready  ## change the engine's core in small ways; 85 % at least have to be noticed
	rm -rf mutants
	NONO_PROOF=brief .venv-mutate/bin/mutmut run --max-children 2 '$(MUTANTS)'
	.venv-mutate/bin/mutmut results --all true | .venv-mutate/bin/python tests/proof/mutation_score.py '$(MUTANTS)'

lint: setup       ## format check, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup     ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup      ## measure everything against plain loops and the SDKs: benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

bench-peers: setup  ## the same for other libraries, each in an environment of its own: benchmarks/PEERS.md
	$(BIN)/python -m benchmarks.peers

clean:            ## remove what the targets made
	rm -rf .venv .venv-previous .venv-mutate .venv-peers mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis results.jsonl results.csv
