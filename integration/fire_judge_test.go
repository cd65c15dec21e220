package integration_test

import (
	"errors"
	"iter"
	"strings"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// fireDeadline is how long a world may take to be whole after everything is healed.
const fireDeadline = 90 * time.Second

// judge compares what the stream and the readers show with what the servers sent.
func (w *fireWorld) judge() {
	w.t.Helper()
	w.fleet.StopProducing()
	report, stream := w.settle()
	w.stats.add(func() {
		s := w.stats
		s.schedules++
		s.sent += report.Sent
		s.lost += report.Lost + report.Pending
		s.doubled += report.Duplicated
		s.disordered += report.OutOfOrder
		s.foreign += report.Altered + report.Foreign
		s.gaps += report.Gaps
	})
	if !report.OK() || report.Pending > 0 || report.Gaps > 0 || report.Stored == 0 {
		w.t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
	}
	if len(stream) == 0 || report.Pending > 0 {
		return
	}
	newest := stream[len(stream)-1].id
	for _, r := range w.readers {
		late := time.Now().Add(fireDeadline)
		for r.last().Compare(newest) < 0 && time.Now().Before(late) {
			after(20 * time.Millisecond)
			w.keep()
		}
		r.dismiss()
		difference := r.compare(stream)
		w.stats.add(func() {
			w.stats.read += int64(len(r.seen))
			w.stats.readerKills += r.kills.Load()
			if difference != "" {
				w.stats.differ++
			}
		})
		if difference != "" {
			w.t.Errorf("the reader by %s, killed %d times: %s", r.name, r.kills.Load(), difference)
		}
	}
	for _, n := range w.nodes {
		eventually(w.t, "the daemon is ready", func() bool {
			w.keep()
			ready, err := n.Ready(w.t.Context())
			return err == nil && ready.Ready
		})
		n.stop()
	}
}

// settle waits until the stream has everything, and returns it with the verdict on it.
func (w *fireWorld) settle() (report jetsim.Report, stream []sighting) {
	w.t.Helper()
	late := time.Now().Add(fireDeadline)
	for {
		var err error
		report, err = w.fleet.Verify(w.entries(&stream), jetsim.VerifyOptions{AllowTail: true, FromFirstStored: w.more != nil})
		if err == nil && report.Pending == 0 && report.Stored > 0 {
			return report, stream
		}
		if time.Now().After(late) {
			if err != nil {
				w.t.Errorf("the stream cannot be read: %v", err)
			}
			return report, stream
		}
		after(200 * time.Millisecond)
		w.keep()
	}
}

// entries yields the stream as the first daemon shows it, and collects it.
func (w *fireWorld) entries(into *[]sighting) iter.Seq2[[]byte, error] {
	*into = nil
	return func(yield func([]byte, error) bool) {
		var last messages.EntryID
		for {
			page, err := w.nodes[0].Tail(w.t.Context(), feed, last.String(), 0, 1000, messages.ConsumerFilter{})
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page.Entries) == 0 {
				return
			}
			for _, e := range page.Entries {
				if e.ID.Compare(last) <= 0 {
					yield(nil, errors.New("I3: the IDs of the stream do not rise"))
					return
				}
				last = e.ID
				*into = append(*into, sight(e))
				if !yield(e.Event, nil) {
					return
				}
			}
		}
	}
}
