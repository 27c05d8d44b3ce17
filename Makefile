# Two commands do everything on a machine that has Go, git and make:
#   make demo   three clusters on this machine, with a tour
#   make test   every test, on real servers that are built once and kept in the user's cache folder

export GOTOOLCHAIN := local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X github.com/seamark-mesh/seamark/cmd/internal/proc.linked=$(VERSION)
CACHE   ?= $(or $(SEAMARK_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/seamark)
NOT_RUN := $(CURDIR)/bin/tests-not-run.txt
GOLANGCI_LINT_VERSION := v2.5.0
FUZZTIME ?= 1m

.PHONY: help build demo test lint vulnerabilities fuzz bench clean

help: ## show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

build: ## build seamark, edge-sync and global-dns into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## run three clusters on this machine and show what happens (Ctrl-C ends it)
	bin/seamark demo --dir bin/demo

test: ## run every test, with the race detector, on real servers
	@mkdir -p bin && rm -f $(NOT_RUN)
	go run ./e2e/servers/cmd/prepare
	@status=0; SEAMARK_NOT_RUN_FILE=$(NOT_RUN) go test -race -timeout 20m ./... || status=$$?; \
	if [ -s $(NOT_RUN) ]; then printf '\nTests that were not run:\n'; sort -u $(NOT_RUN); fi; exit $$status

clean: ## remove what was built here (the cache of servers stays)
	rm -rf bin
