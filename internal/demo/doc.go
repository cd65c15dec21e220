// Package demo shows what the daemon promises, in a minute and with nothing installed: a simulated upstream, a real daemon on a temporary
// directory, a consumer that tails it over HTTP, faults in turn, and at the end a comparison of the stream with what was sent.
//
// The comparison is the simulator's own (internal/jetsim), which knows what it sent; the daemon's opinion of itself is only shown.
//
//	demo.go  Run: the parts, started and stopped
//	plan.go  which fault happens when
//	feed.go  the daemon's configuration
//	watch.go Snapshot: what there is to see meanwhile
//	log.go   the daemon's last log events
package demo
