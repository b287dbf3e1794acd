# Kitchen: what can be made. Needs Go, make and git; `make race` a C compiler too.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
CACHE   := $(CURDIR)/.cache
TOOLS   := $(CACHE)/bin
FUZZTIME ?= 1m
BENCH ?= .
PACKAGES ?= ./...

# One way to compile for all that is made here, so that what is tested is what is built, and is compiled once.
export CGO_ENABLED ?= 0
export GOFLAGS := $(GOFLAGS) -trimpath

# Without a home directory Go has no place for its caches: they go into .cache then.
ifneq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME       := $(CACHE)/home
export GOPATH     ?= $(CACHE)/gopath
export GOMODCACHE ?= $(CACHE)/mod
export GOCACHE    ?= $(CACHE)/build
export GOFLAGS    := $(GOFLAGS) -modcacherw
$(shell mkdir -p $(CACHE)/home)
endif

# The foreign programs that the tests run: an S3 server and sigstore's cosign.
export KITCHEN_TEST_S3SERVER := $(TOOLS)/s3server
export KITCHEN_TEST_COSIGN   := $(TOOLS)/cosign
TESTSERVER := internal/testserver
TEST_PROGRAMS := $(TOOLS)/s3server $(TOOLS)/cosign

# Packages that are quick enough for the race detector in every CI run.
RACE ?= ./manifest/... ./keys/... ./internal/... ./publisher/... ./fetcher/...

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/kitchen
	go build -ldflags '$(LDFLAGS)' -o bin/kitchen ./cmd/kitchen

.PHONY: build-small
build-small: ## build bin/kitchen-small, without AWS, Google, Azure and Vault keys
	go build -tags nokeyservices -ldflags '$(LDFLAGS)' -o bin/kitchen-small ./cmd/kitchen

.PHONY: test-small
test-small: ## test that bin/kitchen-small can do without what it lacks
	go vet -tags nokeyservices ./keys
	go test -tags nokeyservices -run WithoutKeyServices -count 1 ./keys

.PHONY: build-pkcs11
build-pkcs11: ## build bin/kitchen-pkcs11, which signs with PKCS #11 tokens too (needs a C compiler)
	CGO_ENABLED=1 go build -tags pkcs11key -ldflags '$(LDFLAGS)' -o bin/kitchen-pkcs11 ./cmd/kitchen

.PHONY: test-pkcs11
test-pkcs11: ## test PKCS #11 with SoftHSM (needs a C compiler; Debian: softhsm2, opensc)
	@if command -v softhsm2-util >/dev/null && command -v pkcs11-tool >/dev/null; then :; else \
	  echo "test-pkcs11: SoftHSM or OpenSC is missing (Debian: softhsm2, opensc): PKCS #11 WAS NOT TESTED" >&2; exit 1; fi
	CGO_ENABLED=1 go test -tags pkcs11key -run Token -count 1 $(TESTFLAGS) ./keys

.PHONY: test
test: test-programs ## run all tests, a real S3 server and the real cosign included
	go test -ldflags='-s -w' -timeout 30m $(TESTFLAGS) $(PACKAGES)

.PHONY: test-programs
test-programs: $(TEST_PROGRAMS) # the S3 server and cosign, built once into .cache/bin
	@echo "tests run with $(KITCHEN_TEST_S3SERVER) and $(KITCHEN_TEST_COSIGN)"

# What these programs bring along beyond Kitchen is compiled in a hurry: it is most of a cold build, and never hot.
HASTY := k8s.io sigs.k8s.io github.com/google/go-github gitlab.com github.com/open-policy-agent cuelang.org \
  github.com/aws github.com/Azure github.com/AzureAD cloud.google.com github.com/google/gnostic-models \
  github.com/prometheus github.com/alibabacloud-go github.com/lestrrat-go github.com/hashicorp go.mongodb.org
HASTILY := -ldflags='-s -w' $(foreach m,$(HASTY),-gcflags='$(m)/...=-N -l -dwarf=false')

$(TEST_PROGRAMS) &: $(wildcard $(TESTSERVER)/*.go $(TESTSERVER)/s3server/*.go) $(TESTSERVER)/go.mod $(TESTSERVER)/go.sum
	@echo "building the S3 test server and cosign, once; this takes minutes"
	@mkdir -p $(TOOLS)
	@go -C $(TESTSERVER) build -o $(TOOLS)/ $(HASTILY) ./s3server github.com/sigstore/cosign/v2/cmd/cosign
	@touch $(TEST_PROGRAMS)

.PHONY: race
race: test-programs ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 20m $(TESTFLAGS) $(RACE)

.PHONY: crash
crash: test-programs ## kill kitchen on both sides of every storage call, not only where the disk changed
	KITCHEN_TEST_EVERY_PLACE=1 go test -ldflags='-s -w' -timeout 30m -run 'Killed|Interrupted|Two|During|FullDisk' ./cmd/kitchen

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@echo "gofmt -l ."; out=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	go vet ./...
	go -C internal/tools build -o $(TOOLS)/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(TOOLS)/staticcheck ./...

.PHONY: advisories
advisories: ## hold the required versions to the known minimums (works offline)
	go -C internal/tools test ./advisories
	go -C internal/tools build -o $(TOOLS)/advisories ./advisories
	$(TOOLS)/advisories -table internal/tools/advisories/advisories.txt . internal/testserver internal/tools

.PHONY: vulncheck
vulncheck: ## ask the Go vulnerability database (needs network) about what is called
	go -C internal/tools build -o $(TOOLS)/govulncheck golang.org/x/vuln/cmd/govulncheck
	@echo "$(TOOLS)/govulncheck ./..."; $(TOOLS)/govulncheck ./... || { code=$$?; \
	  if [ $$code -eq 3 ]; then echo "vulncheck: what is listed above is called; raise the minimum in internal/tools/advisories/advisories.txt too" >&2; \
	  else echo "vulncheck: the vulnerability database was NOT asked (is there a network? GOVULNDB names a copy): nothing is known; 'make advisories' works offline" >&2; fi; \
	  exit $$code; }

# Where bin/kitchen was not built yet, the demo builds one of its own, compiled in a hurry and without key services: half the time.
.PHONY: demo
demo: ## play the whole story in a temporary directory, explained
	@if [ -e bin/kitchen ]; then $(MAKE) --no-print-directory build && KITCHEN=bin/kitchen sh testdata/demo/demo.sh; else \
	  echo "building a kitchen for the demo; the real one is made by: make build" && \
	  go build -tags nokeyservices -gcflags='all=-N -l -dwarf=false' -gcflags='golang.org/x/crypto/...=-dwarf=false' -ldflags '$(LDFLAGS)' -o $(TOOLS)/kitchen-demo ./cmd/kitchen && \
	  KITCHEN=$(TOOLS)/kitchen-demo sh testdata/demo/demo.sh; fi

.PHONY: bench
bench: test-programs ## run the benchmarks; BENCH=NAME runs some of them
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 30m ./...
	@if [ -n '$(IMAGES)' ]; then $(MAKE) --no-print-directory bench-transfer; else \
	  echo "bench: the comparison of transfers with casync, zsync, xdelta3, zstd, curl and rclone was LEFT OUT: IMAGES=DIR names its images (docs/PERFORMANCE.md)" >&2; fi

IMAGES ?=
WORK ?= $(or $(TMPDIR),/tmp)
RUNS ?= 3
STEPS ?=
.PHONY: bench-transfer
bench-transfer: build test-programs ## measure transfers of real images beside casync, xdelta3 and others; IMAGES=DIR
	@if [ ! -f '$(IMAGES)/v1.tar' ]; then echo "bench-transfer: IMAGES=DIR must name a directory with v1.tar, v2.tar, v3.tar, v1.ext4 and v2.ext4: NOTHING WAS MEASURED" >&2; exit 1; fi
	go -C internal/tools build -o $(TOOLS)/transferbench ./transferbench
	@dir=$$(mktemp -d '$(WORK)/transferbench-s3-XXXXXX'); trap 'rm -rf "$$dir"' EXIT; \
	  $(TOOLS)/s3server -dir "$$dir" -bucket bench -- $(TOOLS)/transferbench -kitchen bin/kitchen -images '$(IMAGES)' -work '$(WORK)' -n $(RUNS) $(if $(STEPS),-only $(STEPS))

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 1m)
	@set -eu; packages=$$(grep -rl --include='*_test.go' '^func Fuzz' cmd fetcher internal keys manifest publisher | xargs -n1 dirname | sort -u); \
	n=0; for package in $$packages; do \
	  listed=$$(go test -list '^Fuzz' ./$$package); \
	  for target in $$(echo "$$listed" | grep '^Fuzz'); do \
	    echo "fuzzing $$package $$target for $(FUZZTIME)"; n=$$((n+1)); \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$package; \
	  done; done; echo "$$n targets, nothing found"

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .cache
