// Package client is the Go client of the daemon's HTTP API (internal/serve). The command line uses
// it.
//
// Every call is one request, with bounds on its time and on the size of its response, except Verify
// and Snapshot (maintenance.go), which last as long as the caller wants. Calls may be made
// concurrently. Nothing is retried: a caller that follows a stream asks again after the last ID
// that it has, and misses no entry.
//
//	client.go      Client, New and the calls
//	consumers.go   named consumers
//	reload.go      reading the configuration again, and deleting streams
//	diagnose.go    positions, trims, the log, profiles, metrics
//	maintenance.go verifying the store's files, and naming them for a backup
//	errors.go      the errors
package client
