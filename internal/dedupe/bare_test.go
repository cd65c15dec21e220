package dedupe_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// pdsCommit is one commit of a simulated account.
type pdsCommit struct {
	path, cid int // cid 0 is a delete
	n         int // its number, of which its rev is made
}

func (c pdsCommit) event() string {
	rev := fmt.Sprintf("3kaaaaa%06d", c.n)
	if c.cid == 0 {
		return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","commit":{"rev":"%s","operation":"delete","collection":"a.b.c","rkey":"k%d"}}`, 1000*(c.n+1), rev, c.path)
	}
	return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","commit":{"rev":"%s","operation":"update","collection":"a.b.c","rkey":"k%d","record":{},"cid":"c%d"}}`, 1000*(c.n+1), rev, c.path, c.cid)
}

func bareEvent(path, cid, at int) string {
	return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","commit":{"operation":"create","collection":"a.b.c","rkey":"k%d","record":{},"cid":"c%d"},"repair":{"gap":"1","source":"accounts"}}`, 1000*(at+1), path, cid)
}

func batchOf(t fataler, events ...string) *messages.Batch {
	t.Helper()
	b := &messages.Batch{}
	for _, text := range events {
		e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(text))}
		if err := jetstream.Scan([]byte(text), &e); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		b.Buf = append(b.Buf, text...)
		b.Events = append(b.Events, e)
	}
	return b
}

// bareWriter does with a stream what the writer does.
type bareWriter struct {
	stream persistence.Stream
	*dedupe.Bare
	within messages.BareRange
	last   messages.EntryID
}

func (w *bareWriter) restart(t fataler) {
	t.Helper()
	w.Bare = dedupe.NewBare(w.stream, persistence.Horizon{Age: 48 * time.Hour})
	if err := w.Load(context.Background(), w.within, w.last); err != nil {
		t.Fatalf("%v", err)
	}
}

func (w *bareWriter) append(t fataler, b *messages.Batch, fetched bool) (dropped int) {
	t.Helper()
	mark := w.Mark
	if fetched {
		mark = w.MarkFetched
	}
	dropped, err := mark(context.Background(), b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	a, err := w.stream.Append(context.Background(), b, messages.Checkpoint{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if a.Entries > 0 {
		w.last = a.Last
	}
	w.Appended(b, a, fetched)
	w.within = w.Range()
	return dropped
}

// fold is what a reader believes that there is, and how often each record was put there.
func fold(t fataler, s persistence.Stream) (state map[string]string, times map[string]int) {
	t.Helper()
	state, times = map[string]string{}, map[string]int{}
	err := persistence.Walk(context.Background(), s, messages.EntryID{}, func(e persistence.Entry) {
		c, ok := jetstream.ReadContent(e.Event)
		if !ok {
			t.Fatalf("%s", e.Event)
		}
		if state[string(c.RKey)] = string(c.CID); c.Delete {
			delete(state, string(c.RKey))
			return
		}
		times[string(c.RKey)+" "+string(c.CID)]++
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return state, times
}

// A feed that is late, loses a stretch and gets the records of it from the account's server believes
// in the end what the server has, and has no record twice that was written once: whichever comes
// first, and with restarts and replays in between.
func TestI2_BareRecordsAndTheirCommits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &bareWriter{stream: &memory{}}
		w.restart(rt)
		var commits []pdsCommit
		written := map[string]int{}
		lost := map[int]bool{}
		sent := 0 // commits that were sent live
		live := func(to int) {
			for ; sent < to; sent++ {
				if !lost[sent] {
					w.append(rt, batchOf(rt, commits[sent].event()), false)
				}
			}
		}
		now := map[int]int{}
		commit := func() bool {
			c := pdsCommit{path: rapid.IntRange(0, 4).Draw(rt, "path"), cid: rapid.IntRange(0, 3).Draw(rt, "cid"), n: len(commits)}
			if c.cid == now[c.path] { // a server makes no commit that changes nothing
				return false
			}
			now[c.path] = c.cid
			written[fmt.Sprintf("k%d c%d", c.path, c.cid)]++
			commits = append(commits, c)
			return true
		}
		for range rapid.IntRange(1, 6).Draw(rt, "commits before") {
			commit()
		}
		live(len(commits))
		from := len(commits)
		for range rapid.IntRange(1, 4).Draw(rt, "commits lost") {
			if commit() {
				lost[len(commits)-1] = true
			}
		}
		to := len(commits)
		for range rapid.IntRange(0, 4).Draw(rt, "commits after") {
			commit()
		}
		live(rapid.IntRange(from, len(commits)).Draw(rt, "sent"))

		// The server's records, as the source gives them: without those that the stream holds, and
		// without the places of which the stream knows more since the gap.
		compared, state, later := w.last, map[int]int{}, map[int]bool{}
		for n, c := range commits[:sent] {
			if !lost[n] {
				state[c.path] = c.cid
				later[c.path] = later[c.path] || n >= to
			}
		}
		var records []string
		for path, cid := range now {
			if cid != 0 && state[path] != cid && !later[path] {
				records = append(records, bareEvent(path, cid, to))
			}
		}
		live(rapid.IntRange(sent, len(commits)).Draw(rt, "sent before the append"))
		b := batchOf(rt, records...)
		b.Compared = compared
		w.append(rt, b, true)
		if rapid.Bool().Draw(rt, "again") { // the fetch ended before its progress was stored
			b := batchOf(rt, records...)
			b.Compared = compared
			if dropped := w.append(rt, b, true); dropped != len(records) {
				rt.Fatalf("%d of %d were dropped the second time", dropped, len(records))
			}
		}
		if rapid.Bool().Draw(rt, "restart") {
			w.restart(rt)
		}
		live(rapid.IntRange(sent, len(commits)).Draw(rt, "sent later"))
		if rapid.Bool().Draw(rt, "restart later") {
			w.restart(rt)
		}
		for range rapid.IntRange(0, 3).Draw(rt, "commits at last") {
			commit()
		}
		live(len(commits))

		got, times := fold(rt, w.stream)
		for path, cid := range now {
			want := fmt.Sprintf("c%d", cid)
			if cid == 0 {
				// What was deleted in the gap is found by comparing, and not here.
				continue
			}
			if got[fmt.Sprintf("k%d", path)] != want {
				rt.Fatalf("k%d is %q, want %q\n%v\nlost %v", path, got[fmt.Sprintf("k%d", path)], want, commits, lost)
			}
		}
		for record, n := range times {
			path := record[:2]
			alone := true
			for other := range written {
				alone = alone && (other == record || other[:2] != path)
			}
			if alone && written[record] == 1 && n > 1 {
				rt.Fatalf("%s is there %d times\n%v\nlost %v", record, n, commits, lost)
			}
		}
	})
}

func TestBareEntriesGoOutOfReach(t *testing.T) {
	w := &bareWriter{stream: &memory{}}
	w.restart(t)
	if !w.Range().IsZero() {
		t.Fatal(w.Range())
	}
	w.append(t, batchOf(t, bareEvent(1, 1, 10)), true)
	if w.Range().IsZero() {
		t.Fatal("no range")
	}
	late := pdsCommit{path: 1, cid: 1, n: 5}
	if n := w.append(t, batchOf(t, late.event()), false); n != 1 {
		t.Errorf("%d dropped", n)
	}
	w.append(t, batchOf(t, pdsCommit{path: 2, cid: 1, n: int(72 * time.Hour / time.Millisecond)}.event()), false)
	if !w.Range().IsZero() {
		t.Errorf("still %v", w.Range())
	}
	if n := w.append(t, batchOf(t, late.event()), false); n != 0 {
		t.Error("it was compared with an entry out of reach")
	}
}

// Without bare entries within reach a batch costs nothing.
func BenchmarkBareMark(b *testing.B) {
	for _, name := range []string{"none", "some"} {
		b.Run(name, func(b *testing.B) {
			w := &bareWriter{stream: &memory{}}
			w.restart(b)
			if name == "some" {
				w.append(b, batchOf(b, bareEvent(1, 1, 0)), true)
			}
			var events []string
			for n := range 4096 {
				events = append(events, pdsCommit{path: 100 + n%7, cid: 1 + n%3, n: n}.event())
			}
			batch := batchOf(b, events...)
			for b.Loop() {
				if _, err := w.Mark(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/event")
		})
	}
}
