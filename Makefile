# Two commands matter: `make demo` and `make test`. Everything they need, they install themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PLANES := crds operators serving monitoring pipelines
UV := .venvs/uv/bin/uv
UV_VERSION := 0.13.8
CACHE := $(or $(GYRE_CACHE),$(HOME)/.cache/gyre)
export UV_PYTHON_DOWNLOADS := never
export GYRE_CACHE := $(CACHE)

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# --- environments: one for each plane, so that an import that was not declared fails

$(UV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gyre needs python3 >= 3.11; this is $$(python3 --version)"; exit 1; }
	@python3 -m venv .venvs/uv 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv .venvs/uv; }
	@.venvs/uv/bin/pip install --quiet uv==$(UV_VERSION)

.venvs/%/.ready: %/pyproject.toml %/requirements-test.lock | $(UV)
	@echo "environment $*"
	@$(UV) venv --quiet --allow-existing .venvs/$*
	@$(UV) pip install --quiet -p .venvs/$*/bin/python --require-hashes -r $*/requirements-test.lock
	@$(UV) pip install --quiet -p .venvs/$*/bin/python --no-deps $(patsubst %,-e ./%,$(sort crds $*))
	@touch $@

# The registry that tests talk to is the very one that the local cluster's image holds.
IMAGE_LOCKS := serving/runtime/triton tests/localcluster/images/mlflow
MLFLOW_LOCKS := $(addprefix tests/localcluster/images/mlflow/,requirements.lock server.lock)
.venvs/mlflow/.ready: $(MLFLOW_LOCKS) | $(UV)
	@echo "environment mlflow"
	@$(UV) venv --quiet --allow-existing .venvs/mlflow
	@$(UV) pip install --quiet -p .venvs/mlflow/bin/python --require-hashes $(MLFLOW_LOCKS:%=-r %) --no-deps
	@touch $@

.PHONY: env programs
env: $(PLANES:%=.venvs/%/.ready) .venvs/mlflow/.ready ## Make the planes' environments
programs: ## Build Kubernetes, etcd, Helm and the S3 server into the cache, where they are missing
	@python3 -m tests.localcluster build

.PHONY: lock
lock: | $(UV) ## Renew the hashed locks from the pyproject files
	@for plane in $(PLANES); do \
	  echo "lock $$plane"; \
	  $(UV) pip compile --quiet --universal --generate-hashes --no-emit-package gyre-crds --no-emit-index-url \
	    --custom-compile-command 'make lock' $$plane/pyproject.toml -o $$plane/requirements.lock; \
	  $(UV) pip compile --quiet --universal --generate-hashes --no-emit-package gyre-crds --no-emit-index-url \
	    --custom-compile-command 'make lock' --all-extras --group $$plane/pyproject.toml:test $$plane/pyproject.toml \
	    -o $$plane/requirements-test.lock; \
	done
	@echo "lock monitoring with Evidently"
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-package gyre-crds --no-emit-index-url \
	  --custom-compile-command 'make lock' --extra evidently monitoring/pyproject.toml \
	  -o monitoring/requirements-evidently.lock
	@for image in $(IMAGE_LOCKS); do \
	  echo "lock $$image"; \
	  $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	    --custom-compile-command 'make lock' $$image/requirements.in -o $$image/requirements.lock; \
	  $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --no-deps \
	    --custom-compile-command 'make lock' $$image/server.in -o $$image/server.lock; \
	done

# --- generated files and checks

.PHONY: generate
generate: .venvs/crds/.ready .venvs/operators/.ready ## Write CRDs, roles and reference pages from their sources
	@.venvs/crds/bin/python -m gyre_crds write
	@.venvs/operators/bin/python -m gyre_operators.rbac write

.PHONY: verify
verify: env ## Lint, types, import contracts, generated files, charts
	@python3 -m tests.run verify

.PHONY: format
format: .venvs/crds/.ready ## Format the Python files
	@.venvs/crds/bin/ruff format --quiet . && .venvs/crds/bin/ruff check --fix --quiet .

# --- tests

.PHONY: test test-unit test-integration test-e2e
test: env programs ## All that CI runs: verify, unit, integration, end to end
	@python3 -m tests.run verify unit e2e integration
test-unit: env programs ## What needs no server, each plane in its own environment
	@python3 -m tests.run unit
test-integration: env programs ## Against real API servers, MLflow, S3 server, Triton and routers
	@python3 -m tests.run integration
test-e2e: env programs ## A shortened story of the demo on a full node
	@python3 -m tests.run e2e

# --- cluster and demo

.PHONY: cluster-up cluster-down cluster-status images push
cluster-up: ## Start a real Kubernetes on this machine (or CLUSTER=existing, CLUSTER=kind)
	@python3 -m tests.localcluster up
cluster-down: ## Remove it without a trace
	@python3 -m tests.localcluster down
cluster-status: ## What runs
	@python3 -m tests.localcluster status
images: ## Build the images and load them into the cluster
	@python3 -m tests.localcluster images
push: ## Build the images and push them to REGISTRY=registry.example.com/gyre
	@python3 -m tests.localcluster images --push "$(REGISTRY)"

.PHONY: demo demo-down
demo: .venvs/pipelines/.ready ## The whole story: train, prove, serve, drift, retrain, roll out
	@python3 -m tests.localcluster up
	@python3 -m tests.localcluster images
	@.venvs/pipelines/bin/python -m tests.e2e.story
demo-down: cluster-down ## Remove what the demo left
	@rm -rf .gyre/demo

.PHONY: bench
bench: env programs ## Tables of ratios against peers measured in the same run
	@python3 -m tests.run bench
.PHONY: bench-serving
bench-serving: .venvs/serving/.ready ## The serving plane beside Envoy, nginx, haproxy, MLServer (ROWS=router for one row)
	@PYTHONPATH=crds:serving .venvs/serving/bin/python -m tests.bench.serving $(ROWS)
.PHONY: bench-drift
bench-drift: .venvs/monitoring/.ready ## False alarms, power and cost of a look beside Evidently, NannyML, whylogs (OPTIONS=--full: all windows)
	@PYTHONPATH=crds:monitoring .venvs/monitoring/bin/python -m tests.bench.drift $(OPTIONS)
.PHONY: bench-retraining
bench-retraining: .venvs/monitoring/.ready ## Cost of the retraining rule over an oracle's, beside calendars and drift shares
	@PYTHONPATH=crds:operators:monitoring .venvs/monitoring/bin/python -m tests.bench.retraining
.PHONY: bench-install
bench-install: .venvs/operators/.ready ## Time and requests of `helm install`, on the cluster of your KUBECONFIG
	@PYTHONPATH=crds .venvs/operators/bin/python -m tests.bench.install

.PHONY: fuzz
fuzz: .venvs/serving/.ready ## A million mutated HTTP streams against the router's parser, with h11 as the judge
	@PYTHONPATH=crds:serving .venvs/serving/bin/python -m tests.serving.fuzz $(FUZZ)

.PHONY: clean
clean: ## Remove environments and local state; the cache of built programs stays
	@rm -rf .venvs .gyre
