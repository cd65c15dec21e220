// Package daemon assembles a running tempestd: the store, the actor tree, the HTTP listener and the service manager, started in
// that order and stopped in the reverse one. The run and demo commands share it.
//
// A stop is graceful and bounded: the feeds stop reading, what they read is made durable, the checkpoints are saved, waiting tails are answered, the
// store is closed. The order matters: nothing that is still to be stored may find its store closed, and a consumer can read what was
// stored last.
//
//	daemon.go   Run
//	stores.go   the stores it opens, and whether a remote one is there
//	node.go     its identity among daemons
//	watch.go    what runs beside it: readiness, the watchdog, the status line
//	events.go   what the store tells, as events of the catalogue
package daemon
