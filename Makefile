# Tandem. `make` lists what there is to do.
GO     ?= go
PYTHON ?= python3
PYTHONS ?= $(PYTHON) python3.9 python3.10 python3.12 python3.13 python3.14
CACHE  := .cache
VENV   := $(CACHE)/venv
GOLANGCI := $(CACHE)/golangci-lint
GOTESTSUM := $(CACHE)/gotestsum
PILLOW := pillow==11.3.0

.DEFAULT_GOAL := help
.PHONY: qemu help demo cluster-demo test kills faults vm cluster-faults cluster-trials past-ten image bench accuracy accuracy-handlers parallel redis chromium report-million picture lint build generate fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

build: ## build bin/tandem
	@mkdir -p bin
	$(GO) build -o bin/tandem ./cmd/tandem

demo: build $(VENV)/.ready ## the main job on real images, next to the textbook answer (under a minute)
	@if [ -x $(VENV)/bin/python ]; then bin/tandem demo --python $(abspath $(VENV))/bin/python; else bin/tandem demo; fi

cluster-demo: build ## three nodes and a cluster on this machine, one killed in the middle of a run, the totals checked (about half a minute)
	TANDEM_PYTHON=$(PYTHON) examples/cluster/demo.sh bin/tandem

# Pillow for the demo's Python image code. Without it the demo uses Tandem's own image code, and says so.
$(VENV)/.ready:
	@mkdir -p $(CACHE)
	@if $(PYTHON) -m venv $(VENV) >$(CACHE)/venv.log 2>&1 && $(VENV)/bin/python -m pip install -q $(PILLOW) >>$(CACHE)/venv.log 2>&1; \
	then touch $@; \
	else rm -rf $(VENV); echo "Pillow could not be installed (see $(CACHE)/venv.log): the demo uses Tandem's own image code"; fi

test: chromium redis ## every test: Go with the race detector, Python, the flows of examples/; the end lists what was not tested
	$(GO) vet ./...
	@test -x $(GOTESTSUM) || GOBIN=$(abspath $(CACHE)) $(GO) install gotest.tools/gotestsum@v1.13.0 || true
	@if [ -x $(GOTESTSUM) ]; then $(GOTESTSUM) --format standard-quiet -- -race -timeout 10m ./...; \
	else echo "gotestsum could not be installed: skipped tests are not listed"; $(GO) test -race -timeout 10m ./...; fi
	$(GO) test -run TestEveryDeathHasItsReport ./internal/procpool # the race detector keeps the runtime from finding deadlocks, so once without
	cd bench && $(GO) vet . && $(GO) test -timeout 5m ./...
	@$(PYTHON) -c "" || { echo "$(PYTHON) does not run: the tests of sdk/python were NOT run"; exit 1; }
	@for p in $(PYTHONS); do if $$p -c "" 2>/dev/null; then $$p --version; $$p -m unittest discover -s sdk/python || exit 1; \
	else echo "$$p is not here: not tested"; fi; done

kills: ## kill runs 200 times and queues until a million puts were acknowledged, at random moments (several minutes)
	$(GO) test -run TestKill -count 1 -timeout 30m -v ./internal/cli -kills 200
	$(GO) test -run TestClusterKill -count 1 -timeout 60m -v ./internal/cli -clusterkills 100
	$(GO) test -run TestKills -count 1 -timeout 30m -v ./internal/queue/jetstream -kills 20 -puts 1000000

faults: ## every fault of the matrix done to a real run, in each language, as root and as nobody, and 1000 random kills (half an hour)
	$(GO) test ./internal/faults -count 1 -timeout 90m -v -faults -kills 1000

vm: qemu ## control groups of version 2, denied namespaces, and faults that harm a machine, in a virtual one (Debian); VM="-only doctor-root,faults-harm"
	$(GO) test ./internal/vm -count 1 -timeout 90m -v -vm $(VM)

# The virtual machine is emulated: no KVM is needed.
qemu:
	@command -v qemu-system-x86_64 >/dev/null && command -v busybox >/dev/null && ls /boot/vmlinuz-*-cloud-amd64 >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-system-x86 busybox-static linux-image-cloud-amd64; } >/dev/null 2>&1 || echo "make vm needs Debian's packages: apt-get install qemu-system-x86 busybox-static linux-image-cloud-amd64"

cluster-faults: ## nodes in network namespaces: kill, partition, slow link, full disk, wrong clocks, restart (root; ten minutes)
	$(GO) test -run 'TestNamespaces|TestFullDisk' -count 1 -timeout 60m -v ./internal/cli -faults

TRIALS ?= 100
cluster-trials: ## kills of nodes, leader and submitter and partitions, mixed, 100 of them, each run checked (root; a quarter of an hour); TRIALS=20
	$(GO) test -run TestTrials -count 1 -timeout 120m -v ./internal/cli -trials $(TRIALS)

past-ten: build redis ## every figure of docs/explanation/past-ten-nodes.md (a quarter of an hour on a quiet machine)
	cd bench && $(GO) run . -tandem $(abspath bin/tandem) -rounds 3 -only '^limit/chan-pipe|^peer/(nats|river|asynq)|^tandem/(queue-|nodes-|attach)'
	$(GO) test -run TestKills -count 1 -timeout 30m -v ./internal/queue/jetstream -kills 20 -puts 1000000
	$(GO) test -run TestSimulation -count 1 -timeout 30m -v ./internal/cluster -simulation

image: ## the steps of deploy/Dockerfile, done in an overlay of this machine's root: its node runs a flow (root; no container engine)
	$(GO) test ./deploy -run TestImageRuns -count 1 -timeout 30m -v -image

bench: build parallel redis ## side by side with the peers and the raw limits; see bench/README.md
	cd bench && $(GO) run . -tandem $(abspath bin/tandem) $(BENCH)

accuracy: build ## profile labelled programs: quiet, beside a busy one, on one processor (several minutes); ACCURACY="-settings quiet -seed 2"
	$(GO) test ./internal/measure -run TestAccuracy -count=1 -timeout 30m -v -accuracy -tandem $(abspath bin/tandem) $(ACCURACY)

# The queue on Redis is tested on a real server. Without one its tests are skipped, and this says so.
redis:
	@command -v redis-server >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq redis-server; } >/dev/null 2>&1 || echo "redis-server is not here: queue/redis is NOT TESTED"

accuracy-handlers: ## mode: auto next to the best setting of a search, for labelled handlers (under ten minutes); HANDLERS="-only net -explain -seed 2"
	$(GO) test ./internal/measure -run TestHandlersAccuracy -count=1 -timeout 30m -v -handlers $(HANDLERS)

# GNU parallel is a peer of tandem map. Without it its row is left out, and says so.
parallel:
	@command -v parallel >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq parallel; } >/dev/null 2>&1 || echo "GNU parallel is not here: its row is left out"

# The report's page is tested in Chromium. Without it those tests are skipped, and say so.
chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || echo "NOT TESTED: chromium is not here and only root can install it, so the report's page is not tested in a browser: apt-get install chromium"

report-million: chromium ## open the report of a million items in a browser, and say how long that took
	@$(GO) test ./internal/report -run TestPageOfAMillionItems -count=1 -v | grep -E "page was there|NOT TESTED|SKIP|FAIL|ok"

picture: build chromium ## draw docs/lanes.png, the README's picture, from a run made for it
	$(GO) test ./internal/report -run TestPicture -count=1 -v -picture $(abspath docs/lanes.png) -tandem $(abspath bin/tandem)

lint: ## static checks
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	@test -x $(GOLANGCI) || GOBIN=$(abspath $(CACHE)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	$(GOLANGCI) run

generate: ## rewrite generated files: the JSON Schema, docs/reference, the wording of errors, the page of the report
	$(GO) run ./web/build
	$(GO) test -run 'TestSchemaIsCurrent|TestReferenceIsCurrent|TestBadFilesAreExplained' ./internal/flowfile -update
	$(GO) test -run TestReferenceIsCurrent ./internal/cli -update

fuzz: ## fuzz every parser for half a minute each
	$(GO) test -run xxx -fuzz FuzzParse -fuzztime 30s ./internal/wire
	$(GO) test -run xxx -fuzz FuzzFind -fuzztime 30s ./internal/evidence
	$(GO) test -run xxx -fuzz FuzzList -fuzztime 30s ./worker
	$(GO) test -run xxx -fuzz FuzzParse -fuzztime 30s ./internal/flowfile
	$(GO) test -run xxx -fuzz FuzzTemplate -fuzztime 30s ./internal/expr
	$(GO) test -run xxx -fuzz FuzzRead -fuzztime 30s ./internal/journal
	$(GO) test -run xxx -fuzz FuzzRead -fuzztime 30s ./internal/lanes
	$(GO) test -run xxx -fuzz FuzzTemplate -fuzztime 30s ./internal/mapper

clean: ## remove what was built
	rm -rf bin $(CACHE) bench/results
