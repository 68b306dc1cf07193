# Everything a developer runs. `make` alone lists the targets.
# Go, make, git and coreutils are enough for build, run and test; the targets that want more install it or say what they left out.

SHELL       := /bin/sh
BIN         := bin/millrace
MAX_BINARY  := 18000000
FUZZTIME    ?= 20s
BENCHTIME   ?= 100ms
MUTANT_JOBS ?= 2
TOOL        := go tool -modfile=tools/go.mod

# Looked up late, because need.sh may install the compiler first.
RACE = $(if $(shell command -v cc || command -v gcc || command -v clang),-race)

# The parts of `make test`, in order. A new part is one word here and one target below.
TEST_PARTS  := test-go test-otel test-promql test-sdk test-browser

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build size run demo web test need-cc test-go test-otel test-promql test-sdk test-browser bench bench-system bench-load acceptance fuzz lint mutants verify ci clean

help: ## list the targets
	@while IFS= read -r line; do \
	  case "$$line" in [a-z]*:*'## '*) printf '  %-14s %s\n' "$${line%%:*}" "$${line##*'## '}" ;; esac; \
	done < Makefile

build: ## one static binary, bin/millrace, within its size limit
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(BIN) ./cmd/millrace
	@$(MAKE) --no-print-directory size

size:
	@size=$$(wc -c < $(BIN)); if [ "$$size" -gt $(MAX_BINARY) ]; then \
	  echo "$(BIN) has $$size bytes, at most $(MAX_BINARY) are allowed: look for a dependency that keeps dead methods alive (make verify)"; exit 1; fi

run: build ## the gateway in front of the built-in simulator, on loopback
	./$(BIN) serve

demo: build ## gateway, simulated provider and 20 users, with the console open
	./$(BIN) demo

web: ## bundle the console: web/ becomes internal/console/dist
	cd tools/web && go run .

test: ## every test; installs what it needs, or names what it left out
	@$(SHELL) tools/need.sh node chromium
	@for part in $(TEST_PARTS); do $(MAKE) --no-print-directory $$part || exit 1; done

need-cc:
	@$(SHELL) tools/need.sh cc

test-go: need-cc ## Go tests, with the race detector where a C compiler exists
	CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) ./...
	go test -count=1 ./internal/archtest
	cd tools/web && go test ./... && go run . -check

test-otel: need-cc ## the module that sends traces and metrics over OTLP
	cd otel && CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) ./...

test-promql: ## the dashboard and the alerts of examples, read by Prometheus's own parser
	cd tools/promql && go test ./...

test-sdk: ## the OpenAI SDK of npm against the built binary
	@if $(SHELL) tools/need.sh --check node; then $(MAKE) --no-print-directory build && $(SHELL) tools/sdk.sh; fi

test-browser: ## the console in headless Chromium
	@if $(SHELL) tools/need.sh --check node chromium; then $(MAKE) --no-print-directory build && $(SHELL) test/browser/run.sh; fi

bench: ## every benchmark once (BENCHTIME=100ms)
	go test -run='^$$' -bench=. -benchmem -benchtime=$(BENCHTIME) ./...

bench-system: build ## the gateway beside a bare reverse proxy
	go run ./test/bench

bench-load: build ## percentiles of millrace load beside those of wrk, which must be installed
	go run ./test/bench/wrk

acceptance: build ## what is promised to users, in real time against a judge (DATA=folder of recorded traces)
	go run ./test/acceptance $(if $(DATA),-data $(DATA))

fuzz: ## every fuzz target for FUZZTIME=20s
	@FUZZTIME=$(FUZZTIME) $(SHELL) tools/fuzz.sh

lint: ## golangci-lint and staticcheck, pinned in tools/go.mod
	$(TOOL) golangci-lint run ./...
	$(TOOL) staticcheck ./...

mutants: ## plant every bug of test/mutants and demand a red test
	@go run ./test/mutants -jobs $(MUTANT_JOBS)

verify: build ## formatting, tidiness, vet, size, and no reflection that keeps dead methods
	@$(SHELL) tools/verify.sh

ci: lint verify test mutants ## everything above that must be green

clean: ## remove what was built
	rm -rf bin test/sdk/node_modules test/browser/node_modules
