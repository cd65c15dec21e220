package oracle

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
	"tempestd/persistence"
)

// Stats counts what happened in runs.
type Stats struct {
	Schedules, Starts, Stops, Kills, GaveUp, Panics  int
	Events, Lost, Doubled, Disordered, Foreign, Gaps int64
	Dropped, NeedlessGaps, Read                      int64
	Forgotten                                        int // how often a server has dropped history
	Failovers                                        int // how often a shared store has lost what it had confirmed
	Told                                             int // how often a reader was told that retention has overtaken it
	Faults                                           map[Kind]int
	dials                                            *atomic.Int64
}

func newStats() Stats { return Stats{Faults: map[Kind]int{}, dials: new(atomic.Int64)} }

// Add adds the counts of other runs.
func (s *Stats) Add(o Stats) {
	s.Schedules += o.Schedules
	s.Starts += o.Starts
	s.Stops += o.Stops
	s.Kills += o.Kills
	s.GaveUp += o.GaveUp
	s.Panics += o.Panics
	s.Forgotten += o.Forgotten
	s.Events += o.Events
	s.Lost += o.Lost
	s.Doubled += o.Doubled
	s.Disordered += o.Disordered
	s.Foreign += o.Foreign
	s.Gaps += o.Gaps
	s.Dropped += o.Dropped
	s.NeedlessGaps += o.NeedlessGaps
	s.Read += o.Read
	s.Told += o.Told
	s.Failovers += o.Failovers
	if s.Faults == nil {
		s.Faults = map[Kind]int{}
	}
	for k, n := range o.Faults {
		s.Faults[k] += n
	}
}

// String is the summary in a few lines.
func (s Stats) String() string {
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(s.Faults)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, s.Faults[k]))
	}
	return fmt.Sprintf("%d schedules: %d events, %d entries read, readers overtaken by retention %d times; lost %d, doubled %d, out of order %d, foreign or altered %d, needless gaps %d\n"+
		"%d gaps for %d events that no server had any more; %d starts, %d stops, %d kills, %d panics, %d failovers with a loss, gave up %d\nfaults: %s",
		s.Schedules, s.Events, s.Read, s.Told, s.Lost, s.Doubled, s.Disordered, s.Foreign, s.NeedlessGaps, s.Gaps, s.Dropped, s.Starts, s.Stops, s.Kills, s.Panics, s.Failovers, s.GaveUp,
		strings.Join(kinds, ", "))
}

// store is what readers read.
func (w *world) store() persistence.Store { return *w.shown.Load() }

// size is how many entries the stream ever had.
func (w *world) size() int { return len(w.all()) }

// complete says whether the stream and its readers have everything.
func (w *world) complete() bool {
	r, err := w.report()
	return err == nil && r.Lost == 0 && r.Sent > 0
}

// isLive says whether one daemon's feed is live, and all others wait for it.
func (w *world) isLive() bool {
	live := 0
	for _, run := range w.running() {
		status, err := run.daemon.Feed(context.Background(), feedName)
		switch {
		case err != nil:
			return false
		case status.State == messages.StateLive:
			live++
		case status.State != messages.StateStandby:
			return false
		}
	}
	return live == 1
}

func (w *world) report() (jetsim.Report, error) {
	return w.fleet.Verify(withoutOversized(w.events()), jetsim.VerifyOptions{Query: w.query()})
}

// entries are the entries of the stream, oldest first.
func entries(store persistence.Store) iter.Seq2[persistence.Entry, error] {
	return func(yield func(persistence.Entry, error) bool) {
		for after := (persistence.EntryID{}); ; {
			page, err := store.TailStream(context.Background(), feedName, after.String(), 0, 1000)
			if err != nil {
				yield(persistence.Entry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
			if len(page.Entries) == 0 {
				return
			}
			after = page.Cursor
		}
	}
}

// judge compares what the stream and the readers show with what the servers sent. It returns the
// differences, the worst kinds first; none if the run was good.
func (w *world) judge() (all []Difference) {
	differ := func(kind, format string, args ...any) {
		all = append(all, Difference{kind, fmt.Sprintf(format, args...)})
	}
	r, err := w.report()
	if err != nil {
		differ("unreadable", "the stream cannot be read: %v", err)
		return all
	}
	if w.stats.Forgotten > 0 || w.Early && len(w.Servers) > 1 {
		// Nobody can tell what a server had that it has dropped. Nor can a feed that has stored nothing
		// tell what another server had that says that it does not go back so far.
		r.NeedlessGaps = 0
	}
	s := &w.stats
	s.Schedules, s.Panics = 1, w.panics.done
	s.Events, s.Lost, s.Doubled, s.Disordered, s.Foreign = r.Sent, r.Lost, r.Duplicated, r.OutOfOrder, r.Foreign+r.Altered
	s.Gaps, s.NeedlessGaps, s.Dropped = r.Gaps, r.NeedlessGaps, r.Dropped
	for _, c := range []struct {
		kind string
		n    int64
	}{{"lost", r.Lost}, {"doubled", r.Duplicated}, {"disordered", r.OutOfOrder}, {"foreign", r.Foreign + r.Altered}} {
		if c.n > 0 {
			differ(c.kind, "%s", strings.Join(append([]string{r.String()}, r.Examples...), "\n#   "))
		}
	}
	trimmed, d := w.judgeLedger()
	if d != "" {
		differ("history", "%s", d)
	}
	if w.positions.fault != "" {
		differ("position", "%s", w.positions.fault)
	}
	if d := w.judgeOversized(); d != "" {
		differ("oversized", "%s", d)
	}
	if faults := w.log.faults(); len(faults) > 0 {
		differ("fault", "%d faults that the schedule does not ask for:\n#   %s", len(faults), strings.Join(faults[:min(len(faults), 5)], "\n#   "))
	}
	for _, reader := range w.allReaders() {
		s.Read += int64(len(reader.seen))
		s.Told += len(reader.told)
		if d := w.judgeReader(reader, trimmed); d != "" && w.stats.Failovers == 0 { // else it may have seen what was lost
			differ("reader", "%s: %s", reader.name, d)
		}
	}
	if w.pace.worst > 0 {
		differ("held up", "an append took %s", w.pace.worst)
	}
	if r.NeedlessGaps > 0 {
		var gaps []string
		for e := range w.events() {
			if bytes.Contains(e, []byte(`"kind":"gap"`)) {
				gaps = append(gaps, string(e))
			}
		}
		differ("needless", "%d gap entries cover nothing that was lost:\n#   %s", r.NeedlessGaps, strings.Join(gaps, "\n#   "))
	}
	if r.Sent == 0 {
		differ("nothing", "nothing was sent")
	}
	if !w.isLive() {
		for _, run := range w.running() {
			status, err := run.daemon.Feed(context.Background(), feedName)
			differ("not live", "in the end the feed is %q: %v", status.State, err)
		}
	}
	for _, run := range w.running() {
		if ready := run.daemon.Ready(context.Background()); !ready.Ready {
			differ("not ready", "in the end the daemon is not ready: %q", ready.Reasons)
		}
	}
	if n, most := w.stats.dials.Load(), int64(360*(time.Since(w.began)/time.Hour+1)); n > most {
		differ("dials", "%d dials in %s", n, time.Since(w.began))
	}
	return all
}

// digest is a hash of everything that the stream shows.
func (w *world) digest() uint64 {
	h := fnv.New64a()
	for _, e := range w.all() {
		fmt.Fprintf(h, "%s %s\n", e.ID, e.Event)
	}
	return h.Sum64()
}
