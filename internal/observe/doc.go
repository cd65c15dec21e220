// Package observe names everything the daemon says about itself, in one place.
//
// Whatever happens is one [Event] of the [Catalogue]. [Observer.Emit] turns it into one structured log record
// (with the attribute event=<name>) and one increment of tempestd_events_total, so that logs and metrics cannot disagree (I9).
// Gauges and histograms that are not events stand in metrics.go. The README's tables are tested against both.
//
//	events.go   the catalogue
//	observer.go Emit
//	metrics.go  the Prometheus collectors
//	logger.go   slog set up from the configuration
package observe
