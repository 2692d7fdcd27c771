# matchd: make setup && make build, then make test or make demo.

SHELL := /bin/bash
GO    ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.built=$(DATE)
PREFIX  ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help setup build cross loaders test unit smoke e2e lab demo bench fuzz check generate accept-api install clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## install the Debian packages and build the guests that tests and the demo need
	@.lab/setup

loaders: ## fetch the network boot programs that go into the binary
	@assets/loaders/fetch

build: loaders ## build bin/matchd with the loaders inside, and bin/matchctl
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

cross: ## build matchctl for Linux, macOS and Windows, as bin/matchctl-OS-ARCH
	@for platform in $(PLATFORMS); do \
	  os=$${platform%/*} arch=$${platform#*/}; out=bin/matchctl-$$os-$$arch; test $$os = windows && out=$$out.exe; \
	  echo $$out; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $$out ./cmd/matchctl || exit 1; \
	done

unit: ## run the Go tests with the race detector
	$(GO) test -race ./...
	$(GO) test -run TornReads ./rpc # as often as its comment says, which the race detector does not get through

smoke: build setup ## boot six machines
	cd .lab && $(GO) test -count=1 -timeout 20m -v -run Smoke ./e2e

test: setup loaders unit smoke ## run every Go test and the smoke set of boots

e2e: build setup ## run every boot and every kill loop
	cd .lab && $(GO) test -count=1 -p 1 -timeout 60m -v ./...

lab: setup ## boot every firmware without matchd, to know that the lab is sound
	cd .lab && $(GO) test -count=1 -v ./reference

demo: build setup ## boot one machine: FIRMWARE=bios|uefi|http|secureboot|arm64
	@cd .lab && $(GO) run ./demo -firmware '$(or $(FIRMWARE),bios)'

bench: build ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## run every fuzz target for a short while: FUZZTIME=30s
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | sort); do \
	  for name in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$target | cut -c6-); do \
	    $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $${FUZZTIME:-30s} ./$$(dirname $$target) || exit 1; \
	  done; done

check: generate ## gofmt, vet, staticcheck, tidy: nothing may differ afterwards
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	cd .lab && $(GO) vet ./...
	$(GO) mod tidy -diff

generate: ## run code generation
	$(GO) generate ./...

accept-api: ## when a release is made: take the API as it is for what later ones must be compatible with
	cd rpc && $(GO) tool buf build matchdpb -o testdata/matchdpb.binpb && $(GO) tool buf build matchboxpb -o testdata/matchboxpb.binpb

install: build ## install binaries, completions, unit and example configuration under PREFIX and /etc
	install -D -m 0755 bin/matchd $(DESTDIR)$(PREFIX)/bin/matchd
	install -D -m 0755 bin/matchctl $(DESTDIR)$(PREFIX)/bin/matchctl
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	bin/matchctl completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/matchctl
	bin/matchctl completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_matchctl
	bin/matchctl completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/matchctl.fish
	install -D -m 0644 examples/matchd.service $(DESTDIR)$(PREFIX)/lib/systemd/system/matchd.service
	@test -e $(DESTDIR)/etc/matchd/matchd.yaml || install -D -m 0644 examples/matchd.yaml $(DESTDIR)/etc/matchd/matchd.yaml

clean: ## remove what was built; downloads and guests stay in .cache
	rm -rf bin
