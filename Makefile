# One verb per thing that a person does. `make help` lists them.
# Builds and tools are cached outside the tree, in $(DSPY_CACHE), so that a second clone starts warm.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export DSPY_CACHE ?= $(HOME)/.cache/dspy-agent
export CARGO_TARGET_DIR ?= $(DSPY_CACHE)/cargo-target
export PATH := $(CURDIR)/.venv/bin:$(DSPY_CACHE)/bin:$(HOME)/.cargo/bin:/usr/local/go/bin:$(PATH)
# A demo's kubeconfig in the caller's shell must not become the tests' cluster; `make test USE_KUBECONFIG=1` says that it should.
TEST_ENV := $(if $(USE_KUBECONFIG),,env -u KUBECONFIG)

GO_MODULES := orchestrator-go benchmarks/orchestrator benchmarks/orchestrator/limits

PYTEST := .venv/bin/python -m pytest

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup
setup: ## install what is missing: packages, tools, the Python environment
	@python3 -m tools.setup

.PHONY: build
build: ## build the three binaries into dist/bin
	@python3 -m tools.setup --without checks --without benchmarks
	@python3 -m tools.build

.PHONY: images
images: build ## build the container images (unchanged ones are kept)
	@python3 -m tools.images build

.PHONY: demo
demo: images ## a cluster, the chart, and a session that repairs a real bug
	@python3 -m tools.demo

.PHONY: cluster-up
cluster-up: images ## bring a cluster up and install the chart on it
	@python3 -m tools.demo --install-only

.PHONY: cluster-down
cluster-down: ## remove the demo's cluster with all that it made
	@python3 -m tools.cluster down --name demo

.PHONY: check
check: setup ## linters and type checkers, all languages
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	for module in $(GO_MODULES); do (cd $$module && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet ./... && staticcheck ./...); done
	cargo fmt --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	helm lint --strict charts/dspy-agent-crds charts/dspy-agent
	.venv/bin/python -m tools.charts.sync --check

.PHONY: fmt
fmt: setup ## format all code
	.venv/bin/ruff check --fix-only . ; .venv/bin/ruff format .
	gofmt -w $(GO_MODULES)
	cargo fmt

.PHONY: generate
generate: setup build ## write again what is derived: chart CRDs, dashboards, the Kustomize base, exported contracts
	.venv/bin/python -m tools.charts.sync
	.venv/bin/python -m tools.contracts

.PHONY: test-unit
test-unit: setup build ## the quick part: unit and integration tests without a cluster
	cargo test --workspace --quiet
	cd orchestrator-go && go test -race ./...
	$(PYTEST) -m "not cluster"

.PHONY: test-cluster
test-cluster: setup images ## what needs a Kubernetes: tools/cluster and the end-to-end tests
	$(TEST_ENV) $(PYTEST) -m cluster

.PHONY: test
test: ## everything, from a clean clone
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-cluster

.PHONY: bench
bench: setup images ## measure, beside what a user would pick instead; writes benchmarks/RESULTS.md
	@.venv/bin/python -m benchmarks.run
