// Package observe names everything the daemon says about itself, in one place.
//
// Whatever happens is one [Event] of the [Catalogue]. [Observer.Emit] turns it into one structured log record
// (with the attribute event=<name>) and one increment of tempestd_events_total, so that logs and metrics cannot disagree (I9).
// Gauges, histograms and the counters of what is too frequent to log stand in metrics.go.
//
// Events are rare: changes, failures, decisions. What happens for every frame is counted, never emitted; that is what lets Emit
// bound every field it is given (I7) and look into every argument of a strict observer.
//
// The two tables of docs/operate.md are written from the code and tested against it: go test ./internal/observe -update.
//
//	events.go   the catalogue
//	observer.go Emit
//	metrics.go  the Prometheus collectors
//	logger.go   slog set up from the configuration
//	markdown.go the tables of docs/operate.md
package observe
