# make test    everything CI runs: formatting, vet, static analysis, every test with the race detector
# make build   ./tempestd, static and reproducible; VERSION=v1.2.3 says what it calls itself, else the build information does
# make dist    what a release is made of, in dist/: packages, archives, bills of materials, checksums
# make bench   every benchmark, with allocations
# make lint    formatting, vet, static analysis and the directions of imports alone
# make fuzz    every fuzz target for FUZZTIME each
# make oracle  SEEDS schedules of faults for the whole core under virtual time, from SEED on
# make alerts  a Prometheus with the alerts and the dashboard of deploy/ scrapes daemons under faults
# make pictures takes pictures of the status page of daemons in trouble, into PICTURES
# make mutants puts deliberate bugs into a copy of the source, and demands that a test finds each of them
#
# make test also runs the fuzzers of what comes from the network: for 10 s each in CI, for 5 s elsewhere.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 5m
FUZZSHORT   ?= $(if $(CI),10s,5s)
WIREFUZZ    := FuzzScan FuzzScanV2 FuzzZstdFrame FuzzRefusal FuzzCursor
SEEDS       ?= 1000
SEED        ?= 1

PICTURES    ?= pictures
BINARY      ?= tempestd
RELEASE      = $(if $(VERSION),-X tempestd/internal/version.release=$(VERSION))

export CGO_ENABLED ?= 0

# unknown fails with a sentence if packages depend on a package that matches a pattern.
unknown = deps=$$(go list -deps $(1)) || exit 1; if echo "$$deps" | grep -E '$(2)'; then echo '$(3)'; exit 1; fi

.PHONY: build test needs lint race week unit bench bench-served fuzz fuzz-wire oracle oracle-breaks mutants alerts pictures dist clean

build:
	go build -trimpath -ldflags "-s -w -buildid= $(RELEASE)" -o $(BINARY) ./cmd/tempestd

dist:
	VERSION=$(VERSION) sh deploy/dist.sh

test: needs lint unit race week fuzz-wire

# What the tests need and the machine lacks: servers, a browser, a unit checker.
needs:
	@bash .ci/needs

lint:
	@test -z "$$(gofmt -l .)" || { echo "not formatted as gofmt does:"; gofmt -l .; exit 1; }
	go mod tidy -diff
	go vet ./...
	cd integration/legacy && go vet ./...
	go run $(STATICCHECK) ./...
	@$(call unknown,./persistence/... ./messages,protoactor,The stores and the messages must not import an actor framework.)
	@$(call unknown,./messages,^tempestd/[^m]|^[^/]*[.],The messages must import only the standard library.)
	@$(call unknown,./persistence,^tempestd/persistence/|badger|valkey,The contract in persistence must import neither a store nor Badger nor valkey-go.)
	@$(call unknown,./internal/client,badger|valkey,The client of the commands must import neither Badger nor valkey-go.)
	@$(call unknown,./persistence/embedded/...,^tempestd/persistence/valkey,The embedded store must not import the Valkey store.)
	@$(call unknown,./persistence/valkey/...,^tempestd/persistence/embedded,The Valkey store must not import the embedded store.)
	@$(call unknown,./internal/atproto,^tempestd/[^i]|^tempestd/internal/([^a]|a[^t]|at[^p])|^[^/]*[.],Package atproto must import only the standard library.)
	@! go list -f '{{.ImportPath}}:{{range .Imports}} {{.}} {{end}}' ./... | grep -v '^tempestd/internal/daemon:' | grep ' tempestd/internal/serve ' || { echo "Only internal/daemon may import internal/serve."; exit 1; }

# systemd's own check of the unit.
unit: needs
	sh deploy/verify.sh

# The race detector needs cgo. Much of what the tests do is to wait: one package more than there are cores at a time. The longest one starts first. lint vets.
# Without the second in which each binary waits for more reports: when its tests have ended, nothing of theirs runs.
race:
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 go test -race -vet=off -timeout 30m -p $$(($$(nproc) + 1)) ./integration ./...

# What the race detector is given a part of: a quiet and a narrow feed, left alone for a simulated week; the log in every state; drawn clocks; a store that is damaged in every way.
week:
	go test -run 'TestQuietFeedIsLeftAloneForAWeek|TestNarrowFeedIsNeverCalledBlind|TestTheLogKeepsToItsBudgetInEveryState|TestI2_WhateverTheClocksShow|TestI4_VerifyFindsDamageAndRepairMendsIt|TestI1_PowerCutLeavesNoPartOfAnAppend|TestI1_I2_I3_PowerCut' ./supervisor ./persistence/embedded

bench:
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

# What many readers cost, together: memory, lag and descriptors. BINARY= is another daemon to compare with.
bench-served:
	go test -run '^$$' -bench 'BenchmarkServed$$' -benchtime 1x -timeout 30m -v ./integration

fuzz:
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

# Three at a time, a worker each.
fuzz-wire:
	@printf '%s\n' $(WIREFUZZ) | xargs -P 3 -I{} go test -run '^$$' -fuzz '^{}$$' -parallel 1 -fuzztime $(FUZZSHORT) -fuzzminimizetime 10x ./internal/jetstream

# A process a core, which share the seeds.
oracle:
	go test -c -o oracle.test ./internal/oracle
	@n=$$(nproc); seq 0 $$((n - 1)) | GOMAXPROCS=1 GOGC=400 xargs -P $$n -I{} sh -c './oracle.test -test.run "^TestOracle$$" -test.v -test.timeout 12h \
		-oracle.seeds $$(($(SEEDS) / '$$n')) -oracle.stride '$$n' -oracle.seed $$(($(SEED) + {})) >oracle.{}.log 2>&1; code=$$?; \
		grep -A3 "schedules:" oracle.{}.log; grep "FAIL: .*/" oracle.{}.log; exit $$code'

# After how many seeds each known bug is found, put back one by one.
oracle-breaks:
	sh internal/oracle/breaks.sh

# Two minutes, of which it waits for most. Prometheus is installed if it is missing.
alerts:
	@bash .ci/needs prometheus
	promtool check rules deploy/prometheus/alerts.yml
	go test -count=1 -tags alerts -v -run TestEveryAlertFiresAndEnds -timeout 15m ./integration/alerts

pictures: needs
	mkdir -p $(PICTURES)
	PICTURES=$(abspath $(PICTURES)) go test ./integration -count=1 -run TestPicturesOfThePage

# Some minutes; needs what the tests need.
mutants: needs
	go run ./integration/mutants

clean:
	rm -rf tempestd dist oracle.test oracle.*.log
