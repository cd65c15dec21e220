// Package integration has the black-box tests, which drive the built binary: the daemon and the simulated upstream are processes of their own on
// loopback, killed and cut as processes are.
//
// The model. A test knows the daemon by what an operator and a consumer know: its exit code, its log on standard error, its HTTP API, its command line.
// What the upstream sent is known from the simulator's history file, and the comparison is the simulator's (internal/jetsim): the daemon's opinion of
// itself decides nothing. A test waits for log events, HTTP answers and ends of processes, never for time to pass; deadlines are there to fail,
// and no figure is asserted but those that bound memory.
//
// What is random comes from a seed that is logged; TEMPESTD_TEST_SEED repeats one.
//
//	main_test.go      TestMain: builds the binary, with the race detector where the test has it
//	process_test.go   process: one that was started, its output, its end
//	daemon_test.go    daemon: tempestd run with its configuration, its API and its stream
//	simulator_test.go simulator: tempestd simulate with its history
//	clients_test.go   clients: what npm has for others' protocols, installed; startNode: a script of clients/, run
//	valkey_test.go    a daemon whose streams are in a Valkey server
//	sharing_test.go   pair: two daemons that share a feed there
//	consumer_test.go  indexer: a named consumer, and what its workers have dealt with
//	browser_test.go   browser, tab: a headless Chromium over its DevTools protocol
//	durable_test.go   follower: the npm client of Durable Streams
//	conformance_test.go  writeSide: the writes of that protocol, beside a daemon that only reads
//	*_test.go         the tests, by what goes wrong
//
// The benchmarks are path_bench_test.go, from socket to durable entry, and resident_bench_test.go, memory and restart.
package integration
