# Every target works on a machine with nothing but Go, make, git and root.
SHELL    := /bin/bash
FUZZTIME ?= 10s
# For the same binary wherever the tree lies; one flag for all, so that nothing is compiled twice.
export GOFLAGS += -trimpath
# What compiles and checks, but not what runs: a fifth faster, for memory that it gives back.
build lint: export GOGC ?= 400

# need COMMAND PACKAGES: install Debian packages if a command is missing.
need = command -v $(1) >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2); }

.DEFAULT_GOAL := help
.PHONY: help build test lint depcheck fuzz readme bench run clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

build: ## build bin/hashstream
	@go build -o bin/hashstream ./cmd/hashstream

test: ## run all tests with the race detector
	@$(call need,gcc,gcc libc6-dev)
	@$(call need,curl,curl)
	@scripts/with-servers.sh scripts/test.sh

lint: ## check format, vet and staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "gofmt these:"; echo "$$files"; exit 1; }
	@go vet ./...
	@cd bench && go vet ./...
	@cd interop && go vet ./...
	@go tool -modfile=tools/go.mod staticcheck ./...

depcheck: ## check layers, dependencies and sizes
	@go test -count=1 ./internal/depcheck

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

readme: build ## run the commands that the README and the guides show
	@scripts/readme.sh README.md
	@$(call need,curl,curl)
	@for guide in bucket nodes backup indexer; do scripts/with-servers.sh scripts/readme.sh docs/guides/$$guide.md || exit 1; done

bench: ## measure beside nginx and boxo, write docs/benchmarks.md
	@$(call need,nginx,nginx-light)
	@$(call need,wrk,wrk)
	@cd bench && go run .

run: build ## serve a sample from a fresh home on 127.0.0.1:8080
	@scripts/run.sh

clean: ## remove what was built
	@rm -rf bin bench/data
