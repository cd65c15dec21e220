// Package client is the Go client of the daemon's HTTP API (internal/serve), which the command line uses.
//
// Every call is one request, bounded in time and in the size of its response, and may be made by many goroutines at once. Nothing is retried: a caller that
// follows a stream asks again after the last ID it has, and misses nothing.
//
//	client.go  Client, New and the calls
//	consumers.go named consumers
//	errors.go  what goes wrong
package client
