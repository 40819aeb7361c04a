# `make` lists the targets. Everything that is made goes to build/.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

GOLANGCI_VERSION := v2.15.0
GOLANGCI := build/tools/$(GOLANGCI_VERSION)/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build functions ## build all and serve the sample functions on http://127.0.0.1:8123
	@exec build/unifaas up --functions build/functions

.PHONY: build
build: ## build the platform, one static binary: build/unifaas
	@mkdir -p build
	@# The driver of the container sandbox embeds its launcher, Linux guests their first process, the laboratory what it measures with.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o internal/sandbox/container/embedded/launcher ./internal/sandbox/container/launcher
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o internal/guest/linux/embedded/init ./internal/guest/linux/init
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o internal/lab/workload/embedded/benchmark ./functions/benchmark
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o build/unifaas ./cmd/unifaas
	@go run ./scripts/isstatic build/unifaas

.PHONY: functions
functions: ## build the sample functions into build/functions, a folder to serve
	@scripts/functions

.PHONY: test
test: build functions ## run the tests; as root on Debian and Ubuntu, install with apt what they need
	@scripts/apt-deps test
	@scripts/test

.PHONY: test-docker
test-docker: build functions ## test the sandbox docker with an Engine of the tests' own
	@scripts/apt-deps test
	@scripts/test docker

.PHONY: test-suites
test-suites: build ## test the drivers of virtual machines alone; five minutes without KVM
	@scripts/apt-deps test-machines
	@scripts/test suites

.PHONY: test-machines
test-machines: build functions ## test virtual machines; a quarter of an hour without KVM
	@scripts/apt-deps test-machines
	@scripts/test machines

.PHONY: test-nested
test-nested: build ## test KVM, in an emulated machine that has one; a few minutes
	@scripts/apt-deps test-nested
	go run ./test/guest -accel tcg -memory 3072 -jobs kvm,linux-qemu

.PHONY: test-guest
test-guest: build functions ## test in a virtual machine with cgroups of version 2 only; a quarter of an hour without KVM
	@scripts/apt-deps test-guest
	go run ./test/guest $(GUEST_FLAGS)

.PHONY: fuzz
fuzz: build ## run every fuzz test for FUZZTIME each, 10s
	@scripts/fuzz

.PHONY: bench
bench: build functions ## measure against nginx, runsc and docker, into build/bench.json
	@scripts/apt-deps bench
	go run ./test/bench -out build/bench.json

.PHONY: lint
lint: $(GOLANGCI) ## check the code; builds the linter when it is not there yet
	@for script in .ci/run scripts/functions scripts/apt-deps scripts/fuzz scripts/test test/guest/go.sh; do bash -n $$script; done
	$(GOLANGCI) run --allow-parallel-runners ./...

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION), which takes a minute or two"
	@GOBIN=$(CURDIR)/$(@D) CGO_ENABLED=0 GOFLAGS= go install -trimpath -ldflags '-s -w' \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: clean
clean: ## remove build/
	rm -rf build
