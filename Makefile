# `make help` lists what there is. All that is made stays in .paydesk/ and mlruns/.
PORT ?= 3000
UI_PORT ?= 5000
BROKER_PORT ?= 9092
STATE := $(CURDIR)/.paydesk
VENV := $(STATE)/venv
PY := $(VENV)/bin/python

export PAYDESK_HOME := $(STATE)
export BENTOML_HOME := $(STATE)/bentoml
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export UV_CACHE_DIR := $(STATE)/cache/uv
export PIP_CACHE_DIR := $(STATE)/cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where this is set, each process that starts compiles a thousand modules anew.
export PYTHONDONTWRITEBYTECODE :=
export MPLCONFIGDIR := $(STATE)/cache/matplotlib
export XDG_CACHE_HOME := $(STATE)/cache
export HYPOTHESIS_STORAGE_DIRECTORY := $(STATE)/cache/hypothesis
export RUFF_CACHE_DIR := $(STATE)/cache/ruff
export MYPY_CACHE_DIR := $(STATE)/cache/mypy

ifneq ($(words $(CURDIR)),1)
$(error The path of this checkout has a blank, which make cannot take: move it to one without)
endif

.DEFAULT_GOAL := help
.PHONY: help serve test check ui bento image extension stream-demo bench lock clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

serve: $(STATE)/train.stamp ## Train where no model exists, and serve on 127.0.0.1 (PORT=3000, TLS=1)
	@exec $(PY) -m paydesk serve --port $(PORT) $(if $(TLS),--tls)

test: check ## Lint, type-check, and run every test
	@$(PY) -m pytest -o cache_dir=$(STATE)/cache/pytest --numprocesses 2 --durations 20

check: $(STATE)/test.stamp ## Lint and type-check only
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache > $(STATE)/imports.log || { cat $(STATE)/imports.log; exit 1; }

ui: $(STATE)/train.stamp ## Open the MLflow UI on the embedded store (UI_PORT=5000)
	@exec $(PY) -m training.ui $(UI_PORT)

bento: $(STATE)/train.stamp ## Build the bento with the champion models inside
	@$(PY) -m training.first
	@$(PY) -m bentoml build

image: $(STATE)/image.stamp ## Build the container image of the champion models (BASE=image@sha256:… TAG=…)
	@$(PY) -m training.first
	@$(PY) -m deploy.image --base "$(BASE)" $(if $(TAG),--tag "$(TAG)")

extension: $(STATE)/train.stamp ## Lay out the Gmail extension in .paydesk/extension, to be loaded unpacked
	@$(PY) -m deploy.extension $(STATE)/extension
	@echo "The extension is in $(STATE)/extension: open chrome://extensions, switch on developer mode, load it unpacked."

stream-demo: $(STATE)/train.stamp ## Kafka broker, service, producer, scorer and alerts on this machine (PORT=3000 BROKER_PORT=9092)
	@exec $(PY) -m deploy.stream_demo --port $(PORT) --broker-port $(BROKER_PORT)

bench: $(STATE)/test.stamp $(STATE)/image.stamp ## Measure everything beside its peers, for docs/performance.md (half an hour; needs wrk, Java, Maven, podman)
	@$(PY) -m training.first
	@for each in score predict reading bulk_files bulk_spark stream image; do echo "== $$each"; $(PY) -m benchmarks.$$each || exit 1; done

lock: $(STATE)/test.stamp ## Resolve the requirements anew, with hashes
	@$(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header requirements/test.in -o requirements/test.txt
	@for group in image train serve build; do $(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header -c requirements/test.txt requirements/$$group.in -o requirements/$$group.txt; done

clean: ## Remove .paydesk/: environment, Bento store, database, caches (mlruns/ stays)
	@rm -rf $(STATE)

# The environment. pip brings uv, with its hash; uv brings the rest, with theirs.
$(STATE)/venv.stamp: requirements/bootstrap.txt
	@python=; for p in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	    if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then echo "Paydesk needs Python 3.11 or newer and found none: install it (Debian: apt-get install python3 python3-venv), or name it with PYTHON=/path/to/python3."; exit 2; fi; \
	mkdir -p $(STATE); echo "Making the environment with $$($$python --version)."; \
	if ! $$python -m venv --clear $(VENV) > $(STATE)/venv.log 2>&1; then echo "Python cannot make an environment: install its venv module (Debian: apt-get install python3-venv). $(STATE)/venv.log says more."; exit 2; fi
	@$(PY) -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(STATE)/train.stamp: $(STATE)/venv.stamp requirements/train.txt pyproject.toml
	@echo "Installing the locked dependencies."
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements/train.txt
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-build-isolation --no-deps --editable .
	@touch $@

$(STATE)/image.stamp: $(STATE)/train.stamp requirements/image.txt
	@echo "Installing what builds the image."
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements/image.txt
	@touch $@

$(STATE)/test.stamp: $(STATE)/train.stamp requirements/test.txt
	@echo "Installing what the tests need."
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements/test.txt
	@touch $@
