// Package daemon assembles a running tempestd: the store, the actor tree, the HTTP listener and the
// service manager. It starts them in that order and stops them in the reverse order. The commands
// run and demo share it.
//
// A stop is graceful and bounded. The feeds stop reading, what they read is made durable, the
// checkpoints are saved, waiting tails are answered, and the store is closed. The order matters:
// the store stays open until everything is stored, and a consumer can read the last stored entries.
//
//	daemon.go   Run
//	stores.go   the stores, and the health of a remote store
//	node.go     the identity among daemons
//	watch.go    readiness, the watchdog, the status line
//	status_line.go what the status line says
//	permanent.go errors that another start does not mend
//	reload.go   a changed configuration
//	measure.go   the metrics of the disk and the store; allocated.go: what a file takes
//	listeners.go the listener, the control socket, the listener for metrics
//	certificate.go the listener's certificate, read again when it changes
//	descriptors.go how many files may be open
//	move.go      moving a feed's position while no daemon runs
//	filters.go  the files with the feeds' filters
//	accounts.go the client of accounts' servers, and the feeds that follow an account
//	account_status.go how such an account stands
//	notices.go  notices of the store as events of the catalogue
package daemon
