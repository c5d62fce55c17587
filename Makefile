# drawbridge. `make help` lists what there is to make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One set of flags for build, vet, lint and test: other flags compile every dependency once more.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath

BIN := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# What to test: make test PKG=./test/e2e RUN=Seed000
PKG ?= ./...
RUN ?=
TESTFLAGS ?=
FUZZTIME ?= 20s
BENCHTIME ?= 500ms

##@ Build

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*##"} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/drawbridge
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/drawbridge ./cmd/drawbridge

.PHONY: tools
tools: ## Build the real parts of the tests into bin/: Kubernetes, etcd, Helm, cert-manager, the linter
	@test/tools/build.sh kubernetes helm certmanager lint

.PHONY: packages
packages: ## Install HAProxy 2.6 or later and curl from the system's packages, where they are missing
	@test/tools/packages.sh

##@ Test

.PHONY: test
test: tools packages ## Run every test, those on real parts too (PKG=./test/e2e RUN=Seed000 for one)
	go test -p 2 -timeout 20m $(if $(RUN),-run '$(RUN)') $(TESTFLAGS) $(PKG)

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go, in under a minute
	go test $(if $(RUN),-run '$(RUN)') $(TESTFLAGS) $$(go list ./... | grep -v /test/)

.PHONY: test-race
test-race: ## Run policy, render and webhook under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race $(TESTFLAGS) ./policy/... ./render/... ./webhook/...

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME each (20s)
	@go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' $(PKG) | while read -r pkg; do \
	  case $$pkg in */test/*) continue;; esac; \
	  go test -list '^Fuzz' "$$pkg" | { grep '^Fuzz' || true; } | while read -r name; do \
	    echo "$$pkg $$name"; \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg"; \
	  done; \
	done

.PHONY: bench
bench: tools packages ## Run the benchmarks, in about ten minutes (BENCHTIME=500ms)
	@pkgs=$$({ git grep -lE '^func Benchmark' -- '*_test.go' || true; } | xargs -r -n1 dirname | sort -u | sed 's|^|./|'); \
	if [[ -z $$pkgs ]]; then echo "there are no benchmarks"; exit 0; fi; \
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 60m $$pkgs

.PHONY: demo
demo: build tools packages ## Show it all working in a network namespace of its own (KEEP=1 leaves it running)
	@go build -ldflags '-s -w' -o $(BIN)/demo ./test/demo
	@$(BIN)/demo

##@ Keep in order

.PHONY: lint
lint: ## Run the linters
	@test/tools/build.sh lint
	$(BIN)/golangci-lint run ./...

.PHONY: generate
generate: ## Write anew what is generated
	go generate ./...

.PHONY: verify
verify: ## Fail when something generated, go.mod or the formatting is not as it must be
	@test/tools/verify.sh
