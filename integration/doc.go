// Package integration has the black-box tests, which drive the built binary. The daemon and the
// simulated upstream are separate processes on loopback, which the tests kill and disconnect.
//
// A test knows only what an operator and a consumer know about the daemon: its exit code, its log
// on standard error, its HTTP API and its command line. The simulator's history file says what the
// upstream sent, and the simulator (internal/jetsim) does the comparison; the daemon's own figures
// do not count. A test waits for log events, HTTP answers and ends of processes, never for a time
// to pass. Deadlines only make a test fail. The only figures that a test asserts are bounds of
// memory.
//
// Random values come from a seed, which is logged. TEMPESTD_TEST_SEED repeats a seed.
//
// What has to be free of races is the daemon. TEMPESTD_TEST_RACE gives it the race detector, and
// leaves the tests without it: a test only compares, and would take most of the time. make test does
// that. With go test -race both have it.
//
//	main_test.go      TestMain: builds the binary
//	process_test.go   process: a started command, its output and its end
//	daemon_test.go    daemon: tempestd run with its configuration, its API and its stream
//	simulator_test.go simulator: tempestd simulate with its history
//	clients_test.go   clients: the npm clients of other protocols; startNode: a script of clients/
//	valkey_test.go    a daemon whose streams are in a Valkey server
//	sharing_test.go   pair: two daemons that share a feed there
//	consumer_test.go  indexer: a named consumer, and the entries that it has acknowledged
//	browser_test.go   browser, tab: a headless Chromium over its DevTools protocol
//	durable_test.go   follower: the npm client of Durable Streams
//	examples_test.go  the programs of examples/, each against a daemon that is killed
//	docs_test.go      README and docs/: links, function names, routes, fields of answers
//	conformance_test.go  writeSide: the writes of that protocol, beside a daemon that only reads
//	crashpoint_test.go  processes that are killed at every named point of internal/crashpoint
//	witness_test.go   witness: a reader that is killed and resumes
//	fire_*_test.go    schedules of real faults that are drawn from seeds: "make oracle-real"
//	soak_test.go      a daemon under faults for long: "make soak"
//	mutants/          a command: deliberate bugs, and the tests that find them
//	*_test.go         the tests, by the fault that they cause
//
// The benchmarks are path_bench_test.go (from the socket to the durable entry), live_bench_test.go
// (the delay of a live event) and resident_bench_test.go (memory and restart).
package integration
