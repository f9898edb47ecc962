# Two virtual environments, each made once for its lock: .venv-demo runs, .venv develops.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
DEV := .venv/bin
DEMO := .venv-demo/bin
# The topics of deployment/examples/wind.yaml.
TOPICS ?= forecast.coarse forecast.fine forecast.fine.steps forecast.fine.dead
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input

# Where the real data lie, and the bundle that they become.
SHARED ?= ../shared/data
UK := training/era5-uk-2t-1to0p25

# What an environment was made from is part of its stamps' names: another lock, another stamp.
# Another pyproject.toml only installs the project again, without a network.
sum = $(shell cksum < $(1) | cut -d' ' -f1)
DEV_LOCK := .venv/.lock-$(call sum,requirements/dev.txt)
DEMO_LOCK := .venv-demo/.lock-$(call sum,requirements/run.txt)
PARITY_LOCK := .venv/.parity-$(call sum,requirements/parity.txt)
DEV_READY := .venv/.project-$(call sum,pyproject.toml)
DEMO_READY := .venv-demo/.project-$(call sum,pyproject.toml)

# $(call make-venv,FOLDER,LOCK): a fresh environment with only what the lock knows by its hash.
define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$$($(PYTHON) --version) found, Python 3.11 or newer wanted: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv" >&2; exit 2; }
	@echo "making $(1) from $(2)"
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP_INSTALL) --require-hashes -r $(2)
	@touch $@
endef

# $(call install-project,FOLDER): the project itself, from here; what builds it is in the lock.
define install-project
	@$(1)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	@touch $@
endef

.PHONY: help
help: ## Say what can be made (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(DEMO_LOCK):
	$(call make-venv,.venv-demo,requirements/run.txt)

$(DEMO_READY): $(DEMO_LOCK)
	$(call install-project,.venv-demo)

$(DEV_LOCK):
	$(call make-venv,.venv,requirements/dev.txt)

# What our networks are held against; most of what it depends on, its networks do not need.
$(PARITY_LOCK): $(DEV_LOCK)
	@$(DEV)/python $(PIP_INSTALL) --no-deps --require-hashes -r requirements/parity.txt
	@touch $@

$(DEV_READY): $(DEV_LOCK) $(PARITY_LOCK)
	$(call install-project,.venv)

.PHONY: install
install: $(DEV_READY) ## Make the environment of a developer, torch included (5 GB)

.PHONY: demo
demo: $(DEMO_READY) ## See it work: a synthetic forecast through the whole daemon, into demo-output/
	@$(DEMO)/downscaled demo --output demo-output

.PHONY: test
test: lint ## Check the style, then run every test
	@$(DEV)/python -m pytest $(PYTEST)

.PHONY: lint
lint: $(DEV_READY) ## ruff, mypy --strict, and import-linter for the floors
	@$(DEV)/ruff check .
	@$(DEV)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(DEV)/mypy
	@$(DEV)/lint-imports --no-cache --config .importlinter | tail -n 20

.PHONY: format
format: $(DEV_READY) ## Put the code into its one format
	@$(DEV)/ruff format --quiet .
	@$(DEV)/ruff check --fix .

.PHONY: bench
bench: $(DEV_READY) ## Measure speed and memory; the figures go to tests/benchmarks/RESULTS.md
	@$(DEV)/python -m tests.benchmarks

.PHONY: parity
parity: $(DEV_READY) ## Hold the full networks against an independent implementation, as a table
	@$(DEV)/python -m tests.engines.parity

.PHONY: bench-gpu
bench-gpu: $(DEV_READY) ## Measure PyTorch on an NVIDIA GPU: ways, batches, precisions; gpu.jsonl, 5 min
	@$(DEV)/python -m tests.benchmarks.gpu $(GPU)

.PHONY: train-uk
train-uk: $(DEV_READY) ## Train UK on 744 hours of 2 m temperature, and score it; MINUTES of fit (8)
	@mkdir -p $(dir $(UK))
	@$(DEV)/downscaled bundle train $(SHARED)/era5-uk-2t --output $(UK) --progress \
	  --constants $(SHARED)/constants/era5-z-lsm-0p25.nc --coarse 1 --hold-back-days 6 \
	  --tile 24 32 --overlap 8 8 --training-tile 24 32 --width 32 --blocks 1 --batch 16 \
	  --dropout 0.1 --minutes $(or $(MINUTES),8) \
	  --description "Hourly 2 m temperature of the British Isles: what 1 degree leaves open on 0.25." \
	  --licence Apache-2.0 \
	  --attribution "Contains modified Copernicus Climate Change Service information (ERA5, March \
	2019). Neither the European Commission nor ECMWF is responsible for any use of it."
	@$(DEV)/downscaled bundle verify $(UK)

.PHONY: kafka
kafka: ## Start a local Apache Kafka on localhost:9092 from its Maven jars, and make TOPICS
	@bash deployment/kafka/kafka.sh start $(TOPICS)

.PHONY: kafka-stop
kafka-stop: ## Stop the local Apache Kafka; its data stay in .kafka/
	@bash deployment/kafka/kafka.sh stop

.PHONY: lock
lock: $(DEV_READY) ## Resolve the dependencies anew, for Python 3.11 to 3.13
	@UV=$(DEV)/uv bash requirements/lock

.PHONY: clean
clean: ## Remove what was made, the environments too
	@rm -rf .venv .venv-demo build dist *.egg-info demo-output .mypy_cache .ruff_cache .hypothesis
	@find engines monitoring streamer tests -name __pycache__ -type d -prune -exec rm -rf {} +
