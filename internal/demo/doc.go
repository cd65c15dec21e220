// Package demo shows what the daemon promises, in a minute and without any installation. It runs a
// simulated upstream, a real daemon in a temporary directory, and a consumer that tails it over
// HTTP. It injects faults in turn, and at the end compares the stream with what was sent.
//
// The simulator (internal/jetsim) does the comparison, because it knows what it sent. The daemon's
// own figures are only shown.
//
//	demo.go  Run: the parts, started and stopped
//	plan.go  the times of the faults
//	feed.go  the daemon's configuration
//	watch.go Snapshot: the visible state of a running demo
//	log.go   the daemon's last log events
package demo
