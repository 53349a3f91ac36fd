# `make run` retrains Elysium end to end; `make test` checks everything. Both set up what they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.8
VENV := .venv
KFP_VENV := .venv-kfp
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadfile

# uv does not read pip's settings: a folder of wheels that pip was told of serves uv too.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run test lint typecheck unit install kubeflow-env constraints clean help

help: ## Shows this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

run: install ## Runs the whole retraining pipeline through Airflow; ARGS="--set key=value" changes settings.
	@elysium pipeline run --runner airflow $(ARGS)

test: lint typecheck unit ## Lint, types, unit tests, golden tests and the pipeline end to end.

lint: install
	ruff format --check .
	ruff check .

typecheck: install
	mypy

unit: install kubeflow-env
	OMP_NUM_THREADS=1 pytest $(PYTEST_ARGS)

install: $(VENV)/.installed ## Makes .venv with everything but Kubeflow.

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	  || { echo "Elysium needs Python 3.11 or 3.12; $(PYTHON) is $$($(PYTHON) --version). Name one: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python -c constraints.txt -e '.[all,dev]'
	@touch $@

kubeflow-env: $(KFP_VENV)/.installed ## Makes .venv-kfp: Kubeflow needs an older Kubernetes client than Airflow.

$(KFP_VENV)/.installed: pyproject.toml constraints-kubeflow.txt | $(VENV)/bin/uv
	$(VENV)/bin/uv venv -q --allow-existing --python $(VENV)/bin/python $(KFP_VENV)
	$(VENV)/bin/uv pip install -q --python $(KFP_VENV)/bin/python -c constraints-kubeflow.txt -e '.[kubeflow]'
	@touch $@

constraints: $(VENV)/bin/uv ## Writes the pinned sets again, keeping what still fits; --upgrade in ARGS moves them.
	$(VENV)/bin/uv pip compile -q --python-version 3.11 --no-emit-find-links --no-emit-index-url --no-header --no-annotate \
	  $(ARGS) --extra all --extra dev --extra ray-node pyproject.toml -o constraints.txt
	$(VENV)/bin/uv pip compile -q --python-version 3.11 --no-emit-find-links --no-emit-index-url --no-header --no-annotate \
	  $(ARGS) --extra kubeflow pyproject.toml -o constraints-kubeflow.txt
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' constraints.txt constraints-kubeflow.txt

clean: ## Removes the environments and caches; runs/ stays.
	rm -rf $(VENV) $(KFP_VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
