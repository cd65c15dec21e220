// Package observe names everything that the daemon reports about itself, in one place.
//
// Everything that happens is one [Event] of the [Catalogue]. [Observer.Emit] turns it into one
// structured log record (with the attribute event=<name>) and one increment of
// tempestd_events_total, so that logs and metrics cannot disagree (I9). Gauges, histograms, and
// counters of facts that are too frequent to log are in metrics.go.
//
// Events are rare: changes, failures, decisions. What happens for every frame is counted and never
// emitted. So Emit can afford to bound every field (I7), and a strict observer can afford to check
// every argument.
//
// The two tables of docs/operate.md are generated from the code and tested against it: go test
// ./internal/observe -update.
//
//	events.go   the catalogue
//	observer.go Emit
//	quiet.go    records that repeat are held back and counted
//	metrics.go  the Prometheus collectors
//	library.go  the words of libraries as events
//	logger.go   slog set up from the configuration
//	recent.go   the newest lines of the log
//	journal.go  records as entries of systemd's journal
//	markdown.go the tables of docs/operate.md
package observe
