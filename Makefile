# Two commands do everything on a machine that has Go, git and make:
#   make demo   three clusters on this machine, with a tour
#   make test   every test, on real servers that are built once and kept in the user's cache folder

export GOTOOLCHAIN := local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X github.com/seamark-mesh/seamark/cmd/internal/proc.linked=$(VERSION)
CACHE   ?= $(or $(SEAMARK_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/seamark)
NOT_RUN := $(CURDIR)/bin/tests-not-run.txt
TOOLS   := $(CACHE)/tools
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.8.0
FUZZTIME ?= 1m
SIM_TIME ?= 10m

# The race detector needs a C compiler; without one the tests run without it, and say so.
RACE := $(if $(shell command -v $$(go env CC) 2>/dev/null),-race,)

.PHONY: help build demo test bench bench-dns chaos soak lint vulnerabilities fuzz sim clean

help: ## show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

build: ## build seamark, edge-sync and global-dns into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## run three clusters on this machine and show what happens (Ctrl-C ends it)
	bin/seamark demo --dir bin/demo

test: ## run every test, with the race detector, on real servers
	@mkdir -p bin && rm -f $(NOT_RUN)
	go run ./e2e/servers/cmd/prepare
	@$(if $(RACE),,echo 'no C compiler: the race detector is off (install gcc to turn it on)' | tee -a $(NOT_RUN);$(if $(filter all,$(SEAMARK_REQUIRE)), exit 1,))
	@status=0; SEAMARK_NOT_RUN_FILE=$(NOT_RUN) go test $(RACE) -timeout 20m ./... || status=$$?; \
	if [ -s $(NOT_RUN) ]; then printf '\nTests that were not run:\n'; sort -u $(NOT_RUN); fi; exit $$status

bench: ## measure the daemons on real servers, in 20 minutes (ONLY=name,name for some of it, QUICK=1 for a look)
	go run ./e2e/servers/cmd/prepare
	go run ./bench $(if $(ONLY),--only '$(ONLY)',) $(if $(QUICK),--quick,)

bench-dns: ## measure DNS answers beside NSD, Knot DNS and CoreDNS, in 5 minutes (QUICK=1 for a look)
	go run ./bench --only dns,dns-large $(if $(QUICK),--quick,)

CHAOS = SEAMARK_CHAOS_REPORTS=$(CURDIR)/bench/results go test ./e2e -run '^TestChaos$$' -count=1 -v

chaos: ## break real processes one after another while clients ask, in 7 minutes (as root; make test has a short round)
	go run ./e2e/servers/cmd/prepare
	SEAMARK_CHAOS=full $(CHAOS) -timeout 20m

soak: ## run the same mesh for SOAK_TIME (1h) and see that nothing grows (as root)
	go run ./e2e/servers/cmd/prepare
	SEAMARK_CHAOS=soak SOAK_TIME=$(or $(SOAK_TIME),1h) $(CHAOS) -timeout 0

lint: $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) ## vet, staticcheck and the linters of .golangci.yml
	$< run ./...

$(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	@echo 'building golangci-lint $(GOLANGCI_LINT_VERSION) once (some minutes)'
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS)/build-$(GOLANGCI_LINT_VERSION) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(TOOLS)/build-$(GOLANGCI_LINT_VERSION)/golangci-lint $@ && rmdir $(TOOLS)/build-$(GOLANGCI_LINT_VERSION)

vulnerabilities: ## look the dependencies up in the database of known vulnerabilities, where it can be reached
	@mkdir -p bin
	@status=0; go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./... >bin/vulnerabilities.txt 2>&1 || status=$$?; \
	if grep -qE 'dial tcp|no such host|connection refused|i/o timeout|fetching vulnerabilities' bin/vulnerabilities.txt; then \
		echo 'the database of vulnerabilities can not be reached from here: not checked'; \
	else cat bin/vulnerabilities.txt; exit $$status; fi

fuzz: ## run every fuzz target for FUZZTIME each
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		grep -ho '^func Fuzz[A-Za-z0-9]*' "$$file" | sed 's/^func //' | while read -r target; do \
			echo "$$file $$target"; go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done || exit 1; done

sim: ## let agents and replicas live in a simulated world for SIM_TIME, with seeds that were never run
	go test ./sim -count=1 -run '^TestSeeds$$' -timeout 0 -v -sim.for=$(SIM_TIME)

clean: ## remove what was built here (the cache of servers stays)
	rm -rf bin
