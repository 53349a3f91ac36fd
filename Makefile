# `make run` retrains Elysium end to end; `make test` checks everything. Both set up what they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.8
VENV := .venv
KFP_VENV := .venv-kfp
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# uv does not read pip's settings: a folder of wheels that pip was told of serves uv too.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run test test-cluster lint typecheck unit install kubeflow-env constraints images images-test clean help

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

test-cluster: install ## The proofs on the cluster that KUBECONFIG names; docs/cluster/testing.md says what they need.
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python -c constraints.txt -e '.[server]'
	pytest -p no:xdist -v tests/cluster $(ARGS)

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
	  $(ARGS) --extra all --extra dev --extra ray-node --extra server pyproject.toml -o constraints.txt
	$(VENV)/bin/uv pip compile -q --python-version 3.11 --no-emit-find-links --no-emit-index-url --no-header --no-annotate \
	  $(ARGS) --extra kubeflow pyproject.toml -o constraints-kubeflow.txt
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' constraints.txt constraints-kubeflow.txt

# Images, one a role on what they share. The commit is what `code_version()` says inside.
ENGINE ?= $(shell command -v podman >/dev/null 2>&1 && echo podman || echo docker)
ROLES ?= orchestrator trainer curator
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TAG ?= $(VERSION)
REGISTRY ?=
BUILD_ARGS ?=
COMMIT = $(shell git rev-parse --short=12 HEAD)$(shell git diff --quiet HEAD || echo .dirty)

images: ## Builds the container images: ENGINE=docker|podman REGISTRY= TAG= ROLES= BUILD_ARGS="--build-arg PIP_INDEX_URL=...".
	@set -e; for role in $(if $(filter trainer curator,$(ROLES)),base) $(ROLES); do \
	  echo "$(REGISTRY)elysium-$$role:$(TAG)"; \
	  $(ENGINE) build $(BUILD_ARGS) --build-arg BASE_IMAGE=$(REGISTRY)elysium-base:$(TAG) \
	    --build-arg ELYSIUM_COMMIT=$(COMMIT) --build-arg VERSION=$(VERSION) \
	    -f components/Dockerfile.$$role -t $(REGISTRY)elysium-$$role:$(TAG) .; \
	done
	@$(ENGINE) images --filter reference='$(REGISTRY)elysium-*:$(TAG)' --format '{{.Repository}}:{{.Tag}} {{.Size}}'

# What no registry offers to the test cluster, built here and written to files that its nodes load.
IMAGES_DIR ?= build/images

images-test: ## Builds the images as the test cluster takes them, Postgres with them, and writes them to IMAGES_DIR.
	@$(MAKE) --no-print-directory images ENGINE=podman REGISTRY=localhost/ TAG=test
	@podman build $(BUILD_ARGS) -f tests/cluster/images/Dockerfile.postgres -t localhost/elysium-postgres:test .
	@mkdir -p $(IMAGES_DIR) && rm -f $(IMAGES_DIR)/elysium-*.tar
	@podman save -q -m -o $(IMAGES_DIR)/elysium-steps.tar localhost/elysium-trainer:test localhost/elysium-curator:test
	@podman save -q -m -o $(IMAGES_DIR)/elysium-servers.tar localhost/elysium-orchestrator:test localhost/elysium-postgres:test
	@ls -l $(IMAGES_DIR)

clean: ## Removes the environments and caches; runs/ stays.
	rm -rf $(VENV) $(KFP_VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
