.PHONY: help install demo test test-fast check keys coverage tiny-study gpu-check format clean
PYTHON ?= python3
BIN := .venv/bin

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.installed  ## make .venv with the locked dependencies and this project
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ablate needs Python 3.11 or newer: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install  ## a real, tiny study: 12 trials on two cores, then: does the ranking transfer?
	$(BIN)/ablate sweep sweeps/sampling.yaml
	$(BIN)/ablate consistency --study sampling

test: check  ## everything that CI runs, on two processes; the tests of a file stay together
	$(BIN)/pytest -m 'not slow' -n 2
	$(BIN)/pytest -m slow -n 2 --dist loadfile

test-fast: install  ## the unit part, about a minute
	$(BIN)/pytest -m 'not slow' -n 2

check: install  ## format, lint, types, architecture, sizes, language, promises of docs/reliability.md, shipped sweeps
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.sizes
	$(BIN)/codespell
	$(BIN)/python -m tests.reliability
	$(BIN)/pytest -q tests/language
	@for spec in $$(find sweeps -name "*.yaml"); do $(BIN)/ablate plan $$spec --json > /dev/null || exit 1; done

keys: install  ## after a raised VERSION, a new field or a new sweep: write the snapshots of keys and defaults
	$(BIN)/python -m tests.ablate.trial_keys

coverage: install  ## simulated studies: do intervals cover, are probabilities calibrated? some minutes
	$(BIN)/python -m benchmarks.coverage

tiny-study: install  ## all of docs/tiny-study.md with three seeds, hours on two cores; started again it goes on
	@for sweep in sampling encoders resamplers tokens schedules mixes integration; do \
		$(BIN)/ablate sweep sweeps/$$sweep.yaml --seeds 0,1,2 || exit 1; done
	$(BIN)/python -m benchmarks.tiny_study sampling
	$(BIN)/python -m benchmarks.axes

gpu-check:  ## the training engine on a GPU, 8 minutes: make gpu-check PYTHON=... with torch and transformers
	PYTHONPATH=. $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu_check

format: install  ## rewrite the code in the house format
	$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist build *.egg-info
