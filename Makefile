# Everything starts from a machine with Python 3.11 or later and nothing else: the environment is made in .venv.
PYTHON ?= python3
BIN := .venv/bin
# one worker per core, four at most; tests of one file share what they compute, so they stay together
PYTEST := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20

# uv installs many times faster than pip; where it cannot be had, pip does the same
INSTALL = @$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(1) 2>/dev/null || \
	$(BIN)/pip install --quiet --disable-pip-version-check $(1)

# a comma divides the arguments of call
COMMA := ,

TABLE := $(if $(DATA),--data $(DATA))
BENCHMARKS := fitting.emulator_speed fitting.kernel_sum fitting.fit_speed fitting.large_spectra fitting.fit_scaling \
	io.memory io.ten_parts training.training_stages training.training_scaling accuracy.versus_cannon accuracy.accuracy \
	accuracy.inverse_regressors accuracy.xp_coefficients calibration.calibration calibration.outliers fitting.posterior_speed calibration.sampler_agreement calibration.crlb \
	calibration.calibration_simulated io.reading_speed io.explorer

.PHONY: help demo demo-survey check test browser test-long torture test-oldest test-python lint docs wheel bench clean

help:
	@echo "make demo         train on real stars, label others, draw (demo_output/)"
	@echo "make demo-survey  label 20,000 stars and a catalogue by sky pixel with two workers (demo_output/)"
	@echo "make check        lint, types, fast tests"
	@echo "make test         lint, types, all tests but the long ones"
	@echo "make browser      a Chromium for the tests of pages, which are skipped without one"
	@echo "make test-long    tests of a third of a minute or more, of what benchmarks and campaigns show too"
	@echo "make torture      thousands of attempts to break slamjax with damaged files, signals, full disks (hours)"
	@echo "make test-oldest  fast tests with the oldest dependencies that pyproject.toml allows"
	@echo "make test-python  fast tests with other Pythons (PYTHONS='3.12 3.13')"
	@echo "make docs         the documentation, in docs/_build/html"
	@echo "make wheel        build wheel and sdist, try the wheel in an empty environment"
	@echo "make bench        benchmarks (DATA=table.fits, MILES=miles.fits, LAMOST=folder for other stars than the embedded ones)"
	@echo "Each installs what it needs into .venv."

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slamjax needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check uv 2>/dev/null || echo "uv cannot be had; pip is used"

.venv/installed-demo: pyproject.toml | .venv/bin/python
	$(call INSTALL,-e '.[explore$(COMMA)fast]')
	@touch $@

.venv/installed-%: pyproject.toml | .venv/bin/python
	$(call INSTALL,-e '.[$*]')
	@touch $@

demo: .venv/installed-demo
	$(BIN)/slamjax demo -o demo_output

demo-survey: .venv/installed-survey
	$(BIN)/python -m benchmarks.survey.demo --out demo_output

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(PYTEST) -m "not slow and not long"

test: lint
	$(PYTEST) -m "not long"

browser: .venv/installed-test
	.ci/browser

test-long: .venv/installed-test
	$(PYTEST) -m long

torture: .venv/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m campaigns --table tests/campaigns/outcomes.md

test-oldest: .venv/installed-test
	.ci/test_oldest .venv-oldest

test-python: .venv/installed-test
	.ci/test_python $(PYTHONS)

docs: .venv/installed-docs
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

wheel: .venv/installed-test
	.ci/try_wheel

bench: .venv/installed-bench
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name $(TABLE) || exit 1; done
	$(if $(and $(DATA),$(MILES)),$(BIN)/python -m benchmarks.training.training_speed --data $(DATA) --miles $(MILES))
	$(if $(and $(DATA),$(MILES)),$(BIN)/python -m benchmarks.accuracy.slam_vs_quadratic --data $(DATA) --miles $(MILES))
	$(BIN)/python -m benchmarks.accuracy.versus_astroslam --n-train 300 --n-test 100 $(TABLE)
	$(if $(DATA),$(BIN)/python -m benchmarks.training.uncut $(TABLE))
	$(if $(DATA),$(BIN)/python -m benchmarks.accuracy.label_gaps --n-train 500 --n-test 1500 $(TABLE))
	$(if $(DATA),$(BIN)/python -m benchmarks.calibration.unlike $(TABLE) --n-train 1000 --n-test 3000)
	$(if $(MILES),$(BIN)/python -m benchmarks.calibration.nuisances --miles $(MILES))
	$(if $(MILES),$(BIN)/python -m benchmarks.accuracy.line_spread --miles $(MILES))
	$(if $(MILES),$(BIN)/python -m benchmarks.calibration.velocities --miles $(MILES))
	$(if $(and $(MILES),$(LAMOST)),$(BIN)/python -m benchmarks.accuracy.lamost --miles $(MILES) --files $(LAMOST))
	$(BIN)/python -m benchmarks.make_docs

clean:
	rm -rf .venv .venv-* demo_output $${XDG_CACHE_HOME:-$$HOME/.cache}/slamjax-tests .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist docs/_build docs/_generated docs/api docs/notebooks
