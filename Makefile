# A newcomer needs two commands, `make demo` and `make test`; both do their own set-up. `make` alone lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The versions of the tools are those of tools/go.mod. They are built once, without cgo; the linters need no C compiler either.
TOOL := CGO_ENABLED=0 go tool -modfile=tools/go.mod

# Where git refuses to speak of this directory (another owner's, no git), the go command must not ask it for a revision.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo known),known)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

##@ To see it work
.PHONY: demo
demo: ## Builds bin/tgfleet and runs the whole fleet with made-up traffic; needs Go only. DEMO_FLAGS adds flags.
	@echo "building bin/tgfleet (the first time takes a few minutes)"
	@CGO_ENABLED=0 go build -o bin/tgfleet ./cmd/tgfleet
	@exec bin/tgfleet up --simulate $(DEMO_FLAGS)

.PHONY: build
build: ## Builds every command into bin/.
	@mkdir -p bin
	CGO_ENABLED=0 go build -o bin/ ./cmd/...

##@ To know that it works
.PHONY: test
test: ## Every test, under the race detector, on real Redis and PostgreSQL servers; installs what is missing if it may.
	@.ci/install
	@go build -C tools -o ../bin/testreport ./testreport
	@{ CGO_ENABLED=1 go test -race -shuffle=on -p 2 -timeout 20m -json ./...; \
		CGO_ENABLED=0 go test -run '^Test(LoginCodes|SignIns|ARedisThatLoses|NoUpdateOfAnAccount|HistoryIsRead|AFrozenListener|AListenerIsMeasured)' -timeout 10m -json \
			./internal/app/listener ./internal/e2e ./internal/bench; } | bin/testreport

# check leaves out the packages whose tests start servers.
.PHONY: check
check: format ## The quick loop, under two minutes: format, vet, build, linters, import rules, tests that need no server.
	go vet ./...
	@$(MAKE) --no-print-directory build golangci
	go test $$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | grep -v localservers | cut -d' ' -f1)

.PHONY: lint
lint: format golangci ## Everything that is examined without running the code: also dead code and go.mod.
	go vet ./...
	go mod tidy -diff
	.ci/deadcode

.PHONY: format
format: ## Shows what gofumpt would change, and fails when there is anything.
	@unformatted=$$($(TOOL) gofumpt -l .); if [ -n "$$unformatted" ]; then \
		$(TOOL) gofumpt -d $$unformatted; echo "not formatted; mend with: make fmt"; exit 1; fi

.PHONY: fmt
fmt: ## Formats the code, imports included.
	$(TOOL) golangci-lint fmt

.PHONY: golangci
golangci: ## The linters alone (.golangci.yml).
	$(TOOL) golangci-lint config verify
	$(TOOL) golangci-lint run

.PHONY: fuzz
fuzz: ## Every fuzz target FUZZ (50000x) times; FUZZ=10000000x is a long search.
	.ci/fuzz $(or $(FUZZ),50000x)

.PHONY: chaos
chaos: ## FAULTS (100) faults of every kind in a fleet under traffic, those that SEED (1) decides; KIND="redis killed" has one kind only.
	go test ./internal/e2e -run '^TestChaos$$' -v -count=1 -timeout 4h \
		-args -chaos.seed $(or $(SEED),1) -chaos.faults $(or $(FAULTS),100) -chaos.kind "$(KIND)"

.PHONY: outage
outage: ## The fleet at 200 updates a second, MINUTES (10) without Redis and then without PostgreSQL; prints figures.
	go test ./internal/e2e -run '^TestFleetOutlivesALongOutage$$' -v -count=1 -timeout $$(( 6 * $(or $(MINUTES),10) + 10 ))m \
		-args -outage $(or $(MINUTES),10)m

.PHONY: recovery
recovery: ## How soon the work of a killed worker is done by others: TRIALS (20) of it; prints median and maximum.
	go test ./internal/e2e -run '^TestWorkOfAKilledWorkerIsDoneByOthers$$' -v -count=1 -timeout 1h \
		-args -recovery.trials $(or $(TRIALS),20)

.PHONY: help
help: ## This list.
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
