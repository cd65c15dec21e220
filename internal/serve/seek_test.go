package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"tempestd/persistence"
)

// entry is an event to be looked for: its time and number.
type entry struct{ us, seq int64 }

func events(entries []entry) (texts []string) {
	for _, e := range entries {
		texts = append(texts, event(e.us, e.seq))
	}
	return texts
}

// run is n events of one upstream, a millisecond and a number apart.
func run(us, seq int64, n int) (entries []entry) {
	for i := range int64(n) {
		entries = append(entries, entry{us + i*1000, seq + i})
	}
	return entries
}

func TestACursorIsATimeOrANumber(t *testing.T) {
	storage := openStore(t)
	// Some share a time, some steps back, and some numbers are missing.
	all := []entry{{firstUS, 10}, {firstUS + 5, 12}, {firstUS + 5, 13}, {firstUS + 9, 17}, {firstUS + 2, 18}, {firstUS + 2000, 20}}
	texts := events(all)
	store(t, openStream(t, storage, "bluesky"), texts...)
	d := start(t, storage)
	tip := len(all)
	for cursor, from := range map[int64]int{
		0: 0, 1: 0, 10: 0, 12: 1, 13: 2, 14: 3, 17: 3, 19: 5, 20: 5, 21: tip, 999_999_999_999_999: tip,
		firstUS - 1: 0, firstUS: 0, firstUS + 1: 1, firstUS + 5: 1, firstUS + 6: 3, firstUS + 9: 3, firstUS + 10: 5, firstUS + 2000: 5, firstUS + 2001: tip,
		time.Now().Add(time.Hour).UnixMicro(): tip, 1 << 62: tip,
	} {
		for _, path := range []string{"/subscribe", pathV2} {
			d.startsWith(fmt.Sprintf("%s?cursor=%d", path, cursor), texts, from)
		}
	}
	// What v1 moves to the oldest event v2 refuses.
	d.startsWith("/subscribe?cursor=5", texts, 0)
	d.want(d.get(pathV2+"?cursor=5"), 400, "CursorTooOld")
}

// startsWith checks with which of the events, all of which are sent in v1's bytes or wrapped, a subscription begins; with the tip it must say nothing.
func (d *daemon) startsWith(path string, texts []string, from int) {
	d.t.Helper()
	s := d.dial(path)
	defer s.CloseNow()
	if from == len(texts) {
		s.silent(path)
		return
	}
	got := s.read(1)[0]
	if path[1] != 's' {
		got = unwrapped(d.t, got)
	}
	if got != texts[from] {
		d.t.Errorf("%s begins with %s, want %s", path, got, texts[from])
	}
}

// silent checks that nothing comes: the pong does, and would come behind it.
func (s *subscriber) silent(what string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	read := make(chan string, 1)
	go func() {
		_, b, _ := s.Read(ctx)
		read <- string(b)
	}()
	if err := s.Ping(ctx); err != nil {
		s.t.Errorf("%s: %v, having read %.100s", what, err, <-read)
		return
	}
	_ = s.CloseNow()
	if got := <-read; got != "" {
		s.t.Errorf("%s begins with %.100s, want nothing yet", what, got)
	}
}

// unwrapped is the number of a v2 frame's identity event, as event makes it.
func unwrapped(t testing.TB, frame string) string {
	t.Helper()
	var f struct {
		Payload struct {
			Seq      int64
			Identity struct{ Seq int64 }
		}
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil {
		t.Fatal(err)
	}
	if f.Payload.Seq == f.Payload.Identity.Seq {
		f.Payload.Seq = 0
	}
	return event(f.Payload.Identity.Seq, f.Payload.Seq)
}

// What a client has seen up to any event is continued without a hole, whatever became of the numbers: given anew after a crash, of another host, or
// none at all. Sent twice may be what has the number a second time.
func TestI2_NothingIsMissedAfterANumberThatWasGivenTwice(t *testing.T) {
	long := int64(time.Hour / time.Microsecond)
	for name, all := range map[string][]entry{
		"an upstream that crashed":               slices.Concat(run(firstUS, 1000, 300), run(firstUS+400_000, 1200, 300)),
		"another host, whose numbers are lower":  slices.Concat(run(firstUS, 5000, 300), run(firstUS+400_000, 100, 300), run(firstUS+800_000, 5310, 100)),
		"another host, whose numbers are higher": slices.Concat(run(firstUS, 5000, 300), run(firstUS+400_000, 90_000, 300), run(firstUS+800_000, 5310, 100)),
		"a legacy host in between":               slices.Concat(run(firstUS, 5000, 200), []entry{{firstUS + 300_000, 0}, {firstUS + 300_001, 0}}, run(firstUS+400_000, 5200, 200)),
		"a crash long ago":                       slices.Concat(run(firstUS, 1000, 3000), run(firstUS+4_000_000, 3900, 3000), run(firstUS+long, 7000, 100)),
	} {
		storage := openStore(t)
		texts := events(all)
		store(t, openStream(t, storage, "bluesky"), texts...)
		d := start(t, storage)
		for i := 0; i < len(all); i += 1 + len(all)/40 {
			if all[i].seq == 0 {
				continue
			}
			first := d.dial(fmt.Sprintf("/subscribe?cursor=%d", all[i].seq)).read(1)[0]
			if at := slices.Index(texts, first); at > i {
				t.Errorf("%s: a client that had seen event %d, number %d, goes on with event %d", name, i, all[i].seq, at)
			}
		}
	}
}

// Without numbers given twice a number is exact, however far back.
func TestANumberIsFoundExactlyInALongStream(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	var texts []string
	for hour := range int64(4) {
		part := events(run(firstUS+hour*3_600_000_000, 1_000_000+hour*50_000, 5000))
		store(t, stream, part...)
		texts = append(texts, part...)
	}
	d := start(t, storage)
	for _, i := range []int{0, 1, 777, 4999, 5000, 9999, 12_345, 19_999} {
		seq := 1_000_000 + int64(i/5000)*50_000 + int64(i%5000)
		d.startsWith(fmt.Sprintf("/subscribe?cursor=%d", seq), texts, i)
	}
	d.startsWith("/subscribe?cursor=1025000", texts, 5000) // between two hours
}

func TestLegacyEventsAreFoundByTheirTimes(t *testing.T) {
	storage := openStore(t)
	texts := []string{event(firstUS, 0), event(firstUS+1, 0), event(firstUS+2, 0)}
	store(t, openStream(t, storage, "bluesky"), texts...)
	d := start(t, storage)
	frame := d.dial(pathV2 + "?cursor=0").read(2)[1]
	var f struct{ Payload struct{ Seq int64 } }
	if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Payload.Seq != firstUS+1 {
		t.Errorf("%v: %s", err, frame)
	}
	d.startsWith(fmt.Sprintf("%s?cursor=%d", pathV2, f.Payload.Seq), texts, 1)
	d.startsWith("/subscribe?cursor=4711", texts, 0) // there is nothing to compare it with
	d.startsWith(pathV2+"?cursor=4711", texts, 0)
}

func TestI4_ACursorBelowRetention(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	for i := range int64(10) {
		store(t, stream, events(run(firstUS+i*1_000_000, 100+i*100, 100))...)
	}
	if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 500}); err != nil {
		t.Fatal(err)
	}
	read, err := stream.Read(context.Background(), persistence.Start(), persistence.End(), 1)
	if err != nil || len(read.Frames) == 0 {
		t.Fatal(err)
	}
	oldest := string(read.Frames[0].Event)
	var e struct{ Cursor, TimeUS int64 }
	if err := json.Unmarshal([]byte(oldest), &e); err != nil || e.Cursor == 100 {
		t.Fatalf("%v: nothing was trimmed, the oldest is %s", err, oldest)
	}
	d := start(t, storage)
	for _, cursor := range []int64{0, 1, 150, firstUS, firstUS + 5} {
		if got := d.dial(fmt.Sprintf("/subscribe?cursor=%d", cursor)).read(1)[0]; got != oldest {
			t.Errorf("v1, %d: begins with %s, want %s", cursor, got, oldest)
		}
	}
	for _, cursor := range []int64{0, 1, 150} {
		want := fmt.Sprintf(`{"error":"CursorTooOld","message":"subscribe: cursor too old: cursor %d below lookback floor %d; re-backfill from your last seq"}`, cursor, e.Cursor)
		if r := d.get(fmt.Sprintf("%s?cursor=%d", pathV2, cursor)); r.status != 400 || r.body != want {
			t.Errorf("%d %s, want %s", r.status, r.body, want)
		}
	}
	got := d.dial(fmt.Sprintf("%s?cursor=%d", pathV2, firstUS+5)).read(2)
	want := fmt.Sprintf(`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"requested timestamp cursor below retention floor; starting at seq %d","name":"OutdatedCursor"}}`, e.Cursor)
	if got[0] != want || unwrapped(t, got[1]) != oldest {
		t.Errorf("%s\n%s, want\n%s\n%s", got[0], got[1], want, oldest)
	}
}
