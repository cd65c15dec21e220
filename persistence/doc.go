// Package persistence is the durable side of tempestd: streams of events, the checkpoints that travel with them, and the
// identity fingerprints by which a replay is recognised.
package persistence
