package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// entry is the time and the upstream's number of an event.
type entry struct{ us, seq int64 }

func events(entries []entry) (texts []string) {
	for _, e := range entries {
		texts = append(texts, event(e.us, e.seq))
	}
	return texts
}

// run returns n events of one upstream. Each is one millisecond and one number after the previous.
func run(us, seq int64, n int) (entries []entry) {
	for i := range int64(n) {
		entries = append(entries, entry{us + i*1000, seq + i})
	}
	return entries
}

func TestACursorIsATimeOrANumber(t *testing.T) {
	storage := openStore(t)
	// Some events share a time, some go back in time, and the upstream's numbers are irregular.
	all := []entry{{firstUS, 10}, {firstUS + 5, 12}, {firstUS + 5, 13}, {firstUS + 9, 3}, {firstUS + 2, 0}, {firstUS + 2000, 20}}
	store(t, openStream(t, storage, "bluesky"), events(all)...)
	d := start(t, storage)
	texts := mirrored(all, 1)
	tip := len(all)
	for cursor, from := range map[int64]int{
		0: 0, 1: 0, 2: 1, 3: 2, 5: 4, 6: 5, 7: tip,
		firstUS - 1: 0, firstUS: 0, firstUS + 1: 1, firstUS + 5: 1, firstUS + 6: 3, firstUS + 9: 3, firstUS + 10: 5, firstUS + 2000: 5, firstUS + 2001: tip,
		time.Now().Add(time.Hour).UnixMicro(): tip, 1 << 62: tip,
	} {
		for _, path := range []string{"/subscribe", pathV2} {
			d.startsWith(fmt.Sprintf("%s?cursor=%d", path, cursor), texts, from)
		}
	}
}

// mirrored returns the v1 messages for the entries. The first entry has the number first in the
// stream.
func mirrored(entries []entry, first int) (texts []string) {
	for i, e := range entries {
		texts = append(texts, event(e.us, int64(first+i)))
	}
	return texts
}

// A number that was never given comes from another server, or from this stream before it lost its
// entries. v2 can report that.
func TestI4_ANumberThatWasNeverGivenIsToldOf(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	store(t, stream, events(run(firstUS, 5000, 3))...)
	d := start(t, storage)
	const want = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"requested sequence cursor was never given here; starting at the live tip","name":"FutureCursor"}}`
	next := event(firstUS+1_000_000, 4)
	v1, told := d.dial("/subscribe?cursor=5002"), d.dial(pathV2+"?cursor=5002")
	expected := d.dial(pathV2 + "?cursor=4") // the number of the next entry
	if got := told.read(1)[0]; got != want {
		t.Errorf("it begins with %s, want %s", got, want)
	}
	d.tailing("bluesky", 3)
	store(t, stream, event(firstUS+1_000_000, 5003))
	same(t, v1.read(1), []string{next})
	for _, s := range []*subscriber{told, expected} {
		if got := unwrapped(t, s.read(1)[0]); got != next {
			t.Errorf("it goes on with %s, want %s", got, next)
		}
	}
}

// startsWith checks with which event a subscription begins. texts are the events as v1 sends them;
// v2 wraps them. With from at the tip, nothing may be sent.
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

// silent checks that nothing is sent: only the pong comes, and it would come after a message.
func (s *subscriber) silent(what string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// unwrapped returns the identity event in a v2 frame, in the form of event.
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

// A client resumes by the number of its last event and drops every event whose number is not above
// it. It gets every event exactly once, whatever happens to the upstream's numbers (given again
// after a crash, of another host, or none at all), and whatever retention and the daemon do in the
// meantime.
func TestI2_AClientThatDropsNumbersItHasSeenMissesNothing(t *testing.T) {
	all := slices.Concat(
		run(firstUS, 1_000_000, 900), run(firstUS+890_000, 1_000_800, 400), // a crash
		// A host with lower numbers.
		run(firstUS+1_300_000, 77, 700),
		// A host with higher numbers, whose clock is an hour behind.
		run(firstUS-3_600_000_000, 9_000_000_000, 1500),
		// A legacy host.
		[]entry{{firstUS + 2_000_000, 0}, {firstUS + 2_000_000, 0}, {firstUS + 2_000_000, 0}},
		run(firstUS+2_000_001, 77_500, 1200),
	)
	onBothBackends(t, func(t *testing.T, storage persistence.Store) {
		for _, path := range []string{"/subscribe", pathV2} {
			name := "s" + path[1:2]
			stream := openStream(t, storage, name)
			texts := mirrored(all, 1)
			numbers := func(text string) (n int64) {
				var f struct {
					Cursor  int64
					Payload struct{ Seq int64 }
				}
				if err := json.Unmarshal([]byte(text), &f); err != nil {
					t.Fatal(err)
				}
				return max(f.Cursor, f.Payload.Seq)
			}
			last, got := int64(1), 0 // the client begins with a number, but has no event
			stored := 0
			for stored < len(all) {
				n := min(len(all)-stored, 311)
				store(t, stream, events(all[stored:stored+n])...)
				stored += n
				d := start(t, storage, func(o *serve.Options) { o.DefaultStream = name })
				s := d.dial(fmt.Sprintf("%s?cursor=%d", path, last))
				// Leave some events for the next connection.
				for want := stored - got - min(got%3, 2); want > 0; {
					text := s.read(1)[0]
					number := numbers(text)
					if got > 0 && number <= last {
						continue // already seen
					}
					if path != "/subscribe" {
						text = unwrapped(t, text)
					}
					if text != texts[got] {
						t.Fatalf("%s: event %d is %s, want %s", path, got, text, texts[got])
					}
					last, got, want = number, got+1, want-1
				}
				_ = s.CloseNow()
				if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 400}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// slow is a stream that delays its Info.
type slow struct {
	persistence.Stream
	takes time.Duration
}

func (s slow) Info(ctx context.Context) (persistence.StreamInfo, error) {
	select {
	case <-time.After(s.takes):
		return s.Stream.Info(ctx)
	case <-ctx.Done():
		return persistence.StreamInfo{}, ctx.Err()
	}
}

// A search that takes longer than the write timeout is still answered. Network deadlines are in
// real time, so the test takes real time.
func TestASearchMayTakeLongerThanAnAnswer(t *testing.T) {
	t.Parallel()
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	all := run(firstUS, 1, 10)
	store(t, stream, events(all)...)
	d := start(t, only{stream: slow{stream, 11 * time.Second}}, func(o *serve.Options) { o.DefaultStream = "bluesky" })
	d.startsWith("/subscribe?cursor=5", mirrored(all, 1), 4)
}

func TestANumberIsFoundExactlyInALongStream(t *testing.T) {
	onBothBackends(t, func(t *testing.T, storage persistence.Store) {
		stream := openStream(t, storage, "bluesky")
		var all []entry
		for hour := range int64(4) {
			part := run(firstUS+hour*3_600_000_000, 1_000_000+hour*50_000, 5000)
			if hour == 2 {
				// These are older than the newest entry: their IDs are all within a few
				// microseconds.
				part = run(firstUS, 1, 5000)
			}
			store(t, stream, events(part)...)
			all = append(all, part...)
		}
		d := start(t, storage)
		texts := mirrored(all, 1)
		for _, i := range []int{0, 1, 777, 4999, 5000, 9999, 10_000, 12_345, 14_999, 15_000, 19_999} {
			d.startsWith(fmt.Sprintf("/subscribe?cursor=%d", i+1), texts, i)
		}
	})
}

func TestI4_ACursorBelowRetention(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	for i := range int64(10) {
		store(t, stream, events(run(firstUS+i*1_000_000, 1100+i*100, 100))...)
	}
	if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 500}); err != nil {
		t.Fatal(err)
	}
	read, err := stream.Read(context.Background(), persistence.Start(), persistence.End(), 1)
	if err != nil || len(read.Entries) == 0 {
		t.Fatal(err)
	}
	var e struct {
		Cursor int64
		TimeUS int64 `json:"time_us"`
	}
	if err := json.Unmarshal(read.Entries[0].Event, &e); err != nil || e.Cursor == 1100 {
		t.Fatalf("%v: nothing was trimmed, the oldest is %s", err, read.Entries[0].Event)
	}
	e.Cursor -= 1099 // its number in the stream: the upstream's begin at 1100
	oldest := event(e.TimeUS, e.Cursor)
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
