# Everything starts from a machine with Python 3.11 or later and nothing else: the environment is made in .venv.
PYTHON ?= python3
BIN := .venv/bin
# one worker per core, four at most; tests of one file share what they compute, so they stay together
PYTEST := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile --durations 20

.PHONY: help demo check test lint docs bench clean

help:
	@echo "make demo    install, then train on real stars, label others, draw (demo_output/)"
	@echo "make check   install, then lint, check types, run the fast tests"
	@echo "make test    the same with all tests, docstring examples and notebooks"
	@echo "make docs    install, then build the documentation into docs/_build/html"
	@echo "make bench   install, then run the benchmarks (DATA=table.fits, MILES=miles.fits, LAMOST=folder for other stars than the embedded ones)"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slamjax needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed-demo: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[plots,fast]'
	@touch $@

.venv/installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

.venv/installed-bench: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

demo: .venv/installed-demo
	$(BIN)/slamjax demo -o demo_output

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(PYTEST) -m "not slow"

test: lint
	$(PYTEST)

docs: .venv/installed-docs
	$(BIN)/sphinx-build -W --keep-going -n -q -j auto docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: .venv/installed-bench
	for script in emulator_speed kernel_sum fit_speed large_spectra fit_scaling memory training_scaling versus_cannon accuracy calibration outliers posterior_speed sampler_agreement crlb calibration_simulated reading_speed; do \
		$(BIN)/python benchmarks/$$script.py $(if $(DATA),--data $(DATA)) || exit 1; \
	done
	$(if $(and $(DATA),$(MILES)),$(BIN)/python benchmarks/training_speed.py --data $(DATA) --miles $(MILES))
	$(if $(and $(DATA),$(MILES)),$(BIN)/python benchmarks/slam_vs_quadratic.py --data $(DATA) --miles $(MILES))
	$(if $(MILES),$(BIN)/python benchmarks/nuisances.py --miles $(MILES))
	$(if $(and $(MILES),$(LAMOST)),$(BIN)/python benchmarks/lamost.py --miles $(MILES) --files $(LAMOST))
	$(BIN)/python benchmarks/make_docs.py

clean:
	rm -rf .venv demo_output $${XDG_CACHE_HOME:-$$HOME/.cache}/slamjax-tests .pytest_cache .mypy_cache .ruff_cache build dist docs/_build docs/_generated docs/api docs/notebooks
