# make test    everything CI runs: formatting, vet, static analysis, every test, with the race detector where anything runs beside anything
# make build   ./tempestd, static and reproducible; VERSION=v1.2.3 says what it calls itself, else the build information does
# make dist    what a release is made of, in dist/: packages, archives, bills of materials, checksums
# make bench   every benchmark, with allocations
# make lint    formatting, vet, static analysis and the directions of imports alone
# make fuzz    every fuzz target for FUZZTIME each
# make oracle  SEEDS schedules of faults for the whole core under virtual time, from SEED on
# make oracle-real  SEEDS schedules of real faults for the built binary, from SEED on; 50 by default
# make power   every image that a power cut can leave of the embedded store
# make soak    a daemon under faults for SOAK (1h), with RATE (3000) events per second, on each store
# make alerts  a Prometheus with the alerts and the dashboard of deploy/ scrapes daemons under faults
# make pictures takes pictures of the status page of daemons in trouble, into PICTURES
# make mutants puts deliberate bugs into a copy of the source, and demands that a test finds each of them
#
# make test also runs the fuzzers of what comes from the network: for 10 s each in CI, for 5 s elsewhere.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 5m
FUZZSHORT   ?= $(if $(CI),10s,5s)
WIREFUZZ    := FuzzScan FuzzScanV2 FuzzZstdFrame FuzzRefusal FuzzCursor
# Packages that start no goroutine, and whose tests start none: there the race detector has nothing to find, and takes five times as long.
SEQUENTIAL  := ./messages ./persistence ./internal/accounts/signing ./internal/archive/dagcbor ./internal/archive/jss ./internal/archive/repo \
	./internal/atproto ./internal/config ./internal/dedupe ./internal/plain ./internal/version ./internal/wholefile
SEEDS       ?= 1000
SEED        ?= 1

PICTURES    ?= pictures
BINARY      ?= tempestd
RELEASE      = $(if $(VERSION),-X tempestd/internal/version.release=$(VERSION))

export CGO_ENABLED ?= 0
# As the released binary is built: what one step compiles serves the others, wherever the source lies.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath)

# unknown fails with a sentence if packages depend on a package that matches a pattern.
unknown = deps=$$(go list -deps $(1)) || exit 1; if echo "$$deps" | grep -E '$(2)'; then echo '$(3)'; exit 1; fi

.PHONY: build test needs lint race race-packages race-daemon week unit bench bench-served fuzz fuzz-wire oracle oracle-breaks oracle-real power soak mutants alerts pictures dist clean

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
	go vet -tags alerts,pictures ./integration/...
	go run $(STATICCHECK) ./...
	@$(call unknown,./persistence/... ./messages,protoactor,The stores and the messages must not import an actor framework.)
	@$(call unknown,./messages,^tempestd/[^m]|^[^/]*[.],The messages must import only the standard library.)
	@$(call unknown,./persistence,^tempestd/persistence/|badger|valkey,The contract in persistence must import neither a store nor Badger nor valkey-go.)
	@$(call unknown,./internal/client,badger|valkey,The client of the commands must import neither Badger nor valkey-go.)
	@$(call unknown,./persistence/embedded/...,^tempestd/persistence/valkey,The embedded store must not import the Valkey store.)
	@$(call unknown,./persistence/valkey/...,^tempestd/persistence/embedded,The Valkey store must not import the embedded store.)
	@$(call unknown,./internal/atproto,^tempestd/[^i]|^tempestd/internal/([^a]|a[^t]|at[^p])|^[^/]*[.],Package atproto must import only the standard library.)
	@! grep -nE '^\s*go [a-zA-Z]|\.Go\(|AfterFunc|RunParallel|t\.Parallel' $(SEQUENTIAL:%=%/*.go) || { echo "A package of SEQUENTIAL starts a goroutine."; exit 1; }
	@! go list -f '{{.ImportPath}}:{{range .Imports}} {{.}} {{end}}' ./... | grep -v -e '^tempestd/internal/daemon:' -e '^tempestd/internal/oracle:' | grep ' tempestd/internal/serve ' || { echo "Only internal/daemon and the oracle may import internal/serve."; exit 1; }

# systemd's own check of the unit.
unit: needs
	sh deploy/verify.sh

# The tests of the packages and those of the binary run side by side. What both need is compiled before.
race:
	CGO_ENABLED=1 go build -race ./internal/...
	@$(MAKE) --no-print-directory -j2 race-packages race-daemon

# The race detector needs cgo. The longest packages start first. lint vets.
# Without the second in which each binary waits for more reports: when its tests have ended, nothing of theirs runs.
race-packages:
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 go test -race -vet=off -timeout 30m ./supervisor ./persistence/valkey ./persistence/embedded ./internal/serve ./internal/daemon \
		$$(go list ./... | grep -vxF -e tempestd/integration $(SEQUENTIAL:./%=-e tempestd/%))

# The detector is in the daemon; the tests, which only compare, would take most of the time with it.
race-daemon:
	TEMPESTD_TEST_RACE=1 go test -vet=off -timeout 30m ./integration

# What the race detector is not given, and what it is given a part of: a quiet and a narrow feed, left alone for a simulated week; drawn clocks; a store
# that is damaged in every way; the largest batches and lists; the contract on a model of a server; an archive with every fault.
WEEK := TestQuietFeedIsLeftAloneForAWeek TestNarrowFeedIsNeverCalledBlind TestTheLogKeepsToItsBudgetInEveryState TestI2_WhateverTheClocksShow TestI4_VerifyFindsDamageAndRepairMendsIt \
	TestI1_PowerCutLeavesNoPartOfAnAppend TestI1_I2_I3_PowerCut TestEveryLimitIsOneThatTheEngineTakes TestTheMostBytesOfABatchAreStored \
	TestTheMostAccountsAFeedMayBeAbout TestTheModelOfAServerKeepsTheContract TestEveryFaultOfAnArchiveInARepair
space := $(subst ,, )
week:
	go test -vet=off $(SEQUENTIAL)
	go test -vet=off -run '^($(subst $(space),|,$(strip $(WEEK))))$$' ./supervisor ./persistence/embedded ./internal/daemon ./internal/valkeysim

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

# Three at a time, a worker each, of one program: each go test would compile the instrumented library anew.
fuzz-wire:
	go test -c -vet=off -fuzz . -o jetstream.test ./internal/jetstream
	@cd internal/jetstream && printf '%s\n' $(WIREFUZZ) | xargs -P 3 -I{} ../../jetstream.test -test.run '^$$' -test.fuzz '^{}$$' -test.parallel 1 \
		-test.fuzztime $(FUZZSHORT) -test.fuzzminimizetime 10x -test.fuzzcachedir "$$(go env GOCACHE)/fuzz/tempestd/internal/jetstream"

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
	PICTURES=$(abspath $(PICTURES)) go test -tags pictures ./integration -count=1 -run TestPicturesOfThePage

oracle-real: needs
	go test -run '^TestI1_I2_I3_I6_UnderFire$$' -v -timeout 12h ./integration -fire.seeds $(if $(filter file,$(origin SEEDS)),50,$(SEEDS)) -fire.seed $(SEED) -fire.steps 14 -fire.tries 12 >oracle-real.log 2>&1; code=$$?; \
		grep -A4 'schedules:' oracle-real.log; grep 'FAIL: .*/drawn' oracle-real.log; grep -A18 'shrunk from' oracle-real.log; exit $$code

power:
	go test -run '^TestI1_I2_I3_EveryImageOfAPowerCut$$' -v -timeout 12h ./persistence/embedded -power.images 27 -power.stride 1

SOAK ?= 1h
RATE ?= 3000
soak: needs
	go test -run '^TestSoak$$' -v -timeout 12h ./integration -soak.for $(SOAK) -soak.rate $(RATE)

# Some minutes; needs what the tests need.
mutants: needs
	go run ./integration/mutants

clean:
	rm -rf tempestd dist jetstream.test oracle.test oracle.*.log oracle-real.log
