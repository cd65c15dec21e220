package integration_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tempestd/internal/client"
	"tempestd/internal/jetsim"
	"tempestd/messages"
	"tempestd/persistence"
)

// feed is the name of the tests' only feed and of its stream.
const feed = "sky"

// settings maps dotted keys of the configuration to values in TOML syntax.
type settings map[string]string

// daemon is a process of tempestd run. Its address and data directory stay the same when it is
// started again.
type daemon struct {
	*process
	*client.Client
	t       testing.TB
	binary  string
	addr    string
	data    string
	config  string   // path of the configuration
	env     []string // for the next start
	written settings
}

// newDaemon prepares a daemon for an upstream. start starts it.
func newDaemon(t testing.TB, upstream string, more settings) *daemon {
	t.Helper()
	d := &daemon{t: t, binary: program, addr: freeAddr(t), data: filepath.Join(t.TempDir(), "data")}
	d.config = filepath.Join(t.TempDir(), "config.toml")
	d.configure(settings{
		"data_dir":                         quoted(d.data),
		"log.level":                        `"debug"`, // to count every event
		"http.listen":                      quoted(d.addr),
		"stream.min_free":                  `"16MiB"`,
		"feeds." + feed + ".endpoints":     `[` + quoted(upstream) + `]`,
		"feeds." + feed + ".backoff":       `["50ms", "100ms", "200ms"]`,
		"feeds." + feed + ".ping_interval": `"3s"`,
	})
	d.configure(more)
	c, err := client.New(d.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
	t.Cleanup(c.Close)
	return d
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// configure changes keys of the configuration for the next start.
func (d *daemon) configure(more settings) {
	d.t.Helper()
	if d.written == nil {
		d.written = settings{}
	}
	maps.Copy(d.written, more)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(d.written)) {
		fmt.Fprintf(&b, "%s = %s\n", key, d.written[key])
	}
	overwrite(d.t, d.config, []byte(b.String()))
}

// start starts the daemon, for the first time or again.
func (d *daemon) start() {
	d.t.Helper()
	d.process = startBinary(d.t, d.binary, d.env, "run", "-c", d.config)
}

// startLive starts the daemon and waits until its feed is live.
func (d *daemon) startLive() {
	d.t.Helper()
	d.start()
	d.await("feed.live")
}

// stop stops the daemon in good order.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		d.t.Errorf("SIGTERM: exit code %d", code)
	}
}

// status returns the feed's status.
func (d *daemon) status() messages.FeedStatus {
	d.t.Helper()
	status, err := d.Feed(d.t.Context(), feed)
	if err != nil {
		d.t.Fatal(err)
	}
	return status
}

// awaitStored waits until the daemon has stored n entries since its start.
func (d *daemon) awaitStored(n uint64) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d entries are stored", n), func() bool { return d.status().Stored >= n })
}

// entries yields the stream from its beginning to its end, read over HTTP, and checks that the IDs
// rise (I3).
func (d *daemon) entries() iter.Seq2[[]byte, error] { return d.entriesAfter(messages.EntryID{}) }

// entriesAfter yields the entries after last.
func (d *daemon) entriesAfter(last messages.EntryID) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			page, err := d.Tail(d.t.Context(), feed, last.String(), 0, 1000, messages.ConsumerFilter{})
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page.Entries) == 0 {
				return
			}
			for _, f := range page.Entries {
				if f.ID.Compare(last) <= 0 {
					d.t.Errorf("I3: entry %v stands behind entry %v", f.ID, last)
				}
				last = f.ID
				if !yield(f.Event, nil) {
					return
				}
			}
		}
	}
}

// gaps returns the stream's gap entries with a cause, or all with cause "".
func (d *daemon) gaps(cause messages.GapCause) (gaps []messages.Gap) {
	d.t.Helper()
	return d.gapsAfter(messages.EntryID{}, cause)
}

// gapsAfter returns the gap entries after an entry.
func (d *daemon) gapsAfter(last messages.EntryID, cause messages.GapCause) (gaps []messages.Gap) {
	d.t.Helper()
	for event, err := range d.entriesAfter(last) {
		if err != nil {
			d.t.Fatal(err)
		}
		var e struct {
			Kind string
			Gap  messages.Gap
		}
		if err := json.Unmarshal(event, &e); err != nil {
			d.t.Fatal(err)
		}
		if e.Kind == "gap" && (cause == "" || e.Gap.Cause == cause) {
			gaps = append(gaps, e.Gap)
		}
	}
	return gaps
}

// catchUp ends the flow of events and waits until the daemon has stored all of them.
func (d *daemon) catchUp(s *simulator) {
	d.t.Helper()
	eventually(d.t, "the simulator is up", func() bool { return !s.stats().Down })
	s.stopProducing()
	newest := s.stats().NewestSeq
	eventually(d.t, fmt.Sprintf("the feed is at seq %d", newest), func() bool { return d.status().Position.Seq == newest })
}

// exact ends the flow of events and compares the stream, read over HTTP, with what the simulator
// sent: entry by entry and byte by byte, from the first frame that it sent to any subscriber.
func (d *daemon) exact(s *simulator) jetsim.Report {
	d.t.Helper()
	return d.exactOf(s, jetsim.VerifyOptions{})
}

// exactOf is exact for the events that a subscription wants.
func (d *daemon) exactOf(s *simulator, opt jetsim.VerifyOptions) jetsim.Report {
	d.t.Helper()
	d.catchUp(s)
	report, err := s.sent().Verify(d.entries(), opt)
	if err != nil {
		d.t.Fatal(err)
	}
	if !report.OK() || report.Stored == 0 || report.Gaps > 0 {
		d.t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
	}
	d.t.Logf("%v", report)
	return report
}

// info returns the stream's description.
func (d *daemon) info() persistence.StreamInfo {
	d.t.Helper()
	info, err := d.Stream(d.t.Context(), feed)
	if err != nil {
		d.t.Fatal(err)
	}
	return info
}
