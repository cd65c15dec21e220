package config

import (
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"tempestd/internal/jetstream"
)

// Start says where a feed begins that has no position yet. It is one of StartLive, StartEarliest,
// StartArchive, StartAt and StartAgo.
type Start interface {
	// text is the value in the configuration, without its quotes.
	text() string
}

// The ways to begin.
type (
	StartLive     struct{}               // with the events from now on
	StartEarliest struct{}               // with the oldest event that the upstream's socket has
	StartArchive  struct{}               // with the oldest event that the upstream's archive has
	StartAt       struct{ At time.Time } // at a time
	StartAgo      struct{ Ago time.Duration }
)

func (StartLive) text() string     { return "live" }
func (StartEarliest) text() string { return "earliest" }
func (StartArchive) text() string  { return "archive" }
func (s StartAt) text() string     { return s.At.UTC().Format(time.RFC3339Nano) }
func (s StartAgo) text() string    { t := showDuration(s.Ago); return t[1 : len(t)-1] }

// The bounds of a start: the first second of the year in which the network began, and what a
// duration may reach back.
var firstStart = time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)

const longestAgo = 3650 * day

// ShowStart returns a start as the configuration writes it, without quotes.
func ShowStart(s Start) string { return s.text() }

// MayHaveArchive says whether a server may have an archive that is asked in a protocol, at a path
// that stands for one.
func MayHaveArchive(asked, path jetstream.Protocol) bool {
	return asked != jetstream.ProtocolV1 && path != jetstream.ProtocolV1
}

// start accepts the places where a feed may begin.
func start() kind[Start] {
	want := `want "live", "earliest", "archive", a time from 2022 on such as "2026-11-01T00:00:00Z", or a duration up to 3650d such as "7d"`
	return scalar(want, func(v value) (Start, bool) {
		if v.kind != unstable.String {
			return StartLive{}, false
		}
		for _, word := range []Start{StartLive{}, StartEarliest{}, StartArchive{}} {
			if v.text == word.text() {
				return word, true
			}
		}
		if at, err := time.Parse(time.RFC3339, v.text); err == nil {
			return StartAt{at}, !at.Before(firstStart) && at.Year() < 10_000
		}
		ago, err := parseDuration(v.text)
		return StartAgo{ago}, err == nil && ago >= time.Second && ago <= longestAgo
	}, func(s Start) string { return `"` + s.text() + `"` })
}
