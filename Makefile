# What a contributor runs; CONTRIBUTING.md says more. Takes the virtual environment .venv where there is one.
PYTHON := $(or $(wildcard .venv/bin/python),python3)
# Tests of one file share what it has trained or played, so a file stays on one process.
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile

.PHONY: check style mypy pyright fast test real fuzz examples notebooks all

# Before every commit, in at most 90 s of two free cores.
check:
	@$(MAKE) --no-print-directory -j2 fast style mypy pyright

style:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

mypy:
	$(PYTHON) -m mypy -p simmoe

pyright:
	$(PYTHON) -m pyright --pythonpath $(PYTHON)

fast:
	$(PYTEST) -m "not slow and not traces and not train and not real"

# Every test.
test:
	$(PYTEST)

# Against the programs and the traces of others. llama.cpp is built once, in some minutes, where cmake and a compiler are; else its tests say
# why they are skipped. Nothing else may run on the machine, or the comparison of speeds is skipped too.
real:
	-$(PYTHON) -m tests.real --build
	$(PYTEST) -rs -m "real or traces"

# Damaged inputs for 20 minutes (at least 20,000), 100 kills of sweeps (6 minutes), then the property tests with ten times the examples of
# CI; other ones each time.
fuzz:
	$(PYTHON) -m tests.fuzz --seconds 1200 --keep fuzzed
	$(PYTHON) -m tests.test_sweep_kills 100
	$(PYTEST) --hypothesis-profile fuzz -m "hypothesis and not train"

# Where numbers have moved for a reason: writes anew what the examples print and what README, results.md and sweeps.md show.
examples:
	$(PYTHON) -m tests.test_examples
	$(PYTHON) -m tests.test_claims

# The same of the notebooks of examples/, after an edit of their cells too. Chromium or Chrome draws their figures.
notebooks:
	$(PYTHON) -m tests.notebooks

# What CI runs. Builds .venv anew.
all:
	.ci/run
