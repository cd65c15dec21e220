package serve_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// halfRepaired returns n events. Every second one was fetched to close a gap, and its own time is an hour
// before that of the event before it.
func halfRepaired(n int) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = event(firstUS+int64(i)*1000, int64(i))
		if i%2 == 1 {
			events[i] = strings.TrimSuffix(event(firstUS+int64(i)*1000-3_600_000_000, int64(i)), "}") + `,"repair":{"gap":"00ff","source":"socket"}}`
		}
	}
	return events
}

// which returns which of the n events the frames are, by their numbers.
func (d *daemon) which(f frames, events []string) (which []int) {
	d.t.Helper()
	for _, frame := range f.Frames {
		which = append(which, slices.Index(events, string(frame.Event)))
	}
	return which
}

func evens(n int) (even []int) {
	for i := 0; i < n; i += 2 {
		even = append(even, i)
	}
	return even
}

func TestReadersMayLeaveRepairedEventsOut(t *testing.T) {
	t.Parallel()
	store, events := openStore(t), halfRepaired(20)
	openStream(t, store, "bluesky", events...)
	d := start(t, store)
	const stream = "/v1/streams/bluesky/"
	whole := d.frames(d.get(stream + "tail?after=0-0"))
	if whole.Count != 20 {
		t.Fatalf("%d entries are stored", whole.Count)
	}
	for _, path := range []string{"tail?after=0-0&repaired=exclude", "frames?repaired=exclude", "tail?after=0-0&kinds=identity&repaired=exclude"} {
		f := d.frames(d.get(stream + path))
		if got := d.which(f, events); !slices.Equal(got, evens(20)) || f.Cursor != whole.Cursor {
			t.Errorf("%s: %v up to %s, want the even ones up to %s", path, got, f.Cursor, whole.Cursor)
		}
	}
	for _, path := range []string{"tail?after=0-0&repaired=include", "frames?repaired=include"} {
		if f := d.frames(d.get(stream + path)); f.Count != 20 {
			t.Errorf("%s: %d entries, want all", path, f.Count)
		}
	}
	// A page is filled, and the next one begins where it ended, inclusive.
	first := d.frames(d.get(stream + "frames?repaired=exclude&limit=4"))
	second := d.frames(d.get(stream + "frames?repaired=exclude&limit=100&from=" + first.Cursor))
	if got := slices.Compact(append(d.which(first, events), d.which(second, events)...)); !slices.Equal(got, evens(20)) {
		t.Errorf("two pages have %v", got)
	}
	for _, path := range []string{"tail?after=0-0&repaired=no", "frames?repaired=", "tail?after=0-0&live=sse&repaired=1", "subscribe?repaired=out"} {
		if r := d.get(stream + path); r.status != http.StatusBadRequest || !strings.Contains(r.body, "include, exclude") {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	d.want(d.get("/streams/bluesky?offset=-1&repaired=no"), http.StatusBadRequest, "InvalidRequest")
	var durable []json.RawMessage
	if r := d.get("/streams/bluesky?offset=-1&repaired=exclude"); json.Unmarshal([]byte(r.body), &durable) != nil || len(durable) != 10 {
		t.Errorf("a durable read: %d of 10: %.200s", len(durable), r.body)
	}
	live := d.sse(stream + "tail?after=0-0&repaired=exclude")
	for _, want := range evenOf(events) {
		if got := live.next(); got.data != want {
			t.Errorf("event %s is %s, want %s", got.id, got.data, want)
		}
	}
}

func evenOf(events []string) (even []string) {
	for i := 0; i < len(events); i += 2 {
		even = append(even, events[i])
	}
	return even
}

func TestSubscribersMayLeaveRepairedEventsOut(t *testing.T) {
	t.Parallel()
	storage, events := openStore(t), halfRepaired(6)
	store(t, openStream(t, storage, "bluesky"), events...)
	d := start(t, storage)
	for _, path := range []string{"/subscribe?cursor=0", pathV2 + "?cursor=0"} {
		all := d.dial(path).read(5)
		same(t, d.dial(path+"&repaired=exclude").read(3), []string{all[0], all[2], all[4]}) // with their numbers
	}
}

func TestConsumersMayLeaveRepairedEventsOut(t *testing.T) {
	t.Parallel()
	store, events := openStore(t), halfRepaired(10)
	openStream(t, store, "bluesky", events...)
	d := start(t, store)
	const path = "/v1/streams/bluesky/consumers/indexer"
	d.want(d.send("PUT", path, `{"after":"0-0","filter":{"repaired":"no"}}`), http.StatusBadRequest, "InvalidRequest")
	for _, want := range []int{http.StatusCreated, http.StatusOK} {
		if r := d.send("PUT", path, `{"after":"0-0","filter":{"repaired":"exclude"}}`); r.status != want || !strings.Contains(r.body, `"filter":{"repaired":"exclude"}`) {
			t.Errorf("it is made: %d %s", r.status, r.body)
		}
	}
	r := d.send("PUT", path, `{"after":"0-0","filter":{"repaired":"include"}}`)
	if d.want(r, http.StatusConflict, "ConsumerExists"); !strings.Contains(r.body, "filter.repaired") {
		t.Errorf("another filter: %s", r.body)
	}
	var batch struct {
		Frames []struct{ Event json.RawMessage }
	}
	r = d.get(path + "/next?limit=10")
	if err := json.Unmarshal([]byte(r.body), &batch); err != nil || len(batch.Frames) != 5 {
		t.Fatalf("%d entries, %v: %.200s", len(batch.Frames), err, r.body)
	}
	for i, frame := range batch.Frames {
		if string(frame.Event) != events[2*i] {
			t.Errorf("entry %d is %s", i, frame.Event)
		}
	}
}

func TestARangeInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	store, events := openStore(t), halfRepaired(8)
	openStream(t, store, "bluesky", append(events, fmt.Sprintf(gapOf, firstUS-1))...)
	d := start(t, store)
	const stream = "/v1/streams/bluesky/frames"
	f := d.frames(d.get(stream + "?order=time&limit=9"))
	if got := d.which(f, events); !slices.Equal(got, []int{1, 3, 5, 7, -1, 0, 2, 4, 6}) || f.Cursor != f.Newest {
		t.Errorf("in the order of time: %v, cursor %s of %s", got, f.Cursor, f.Newest)
	}
	f = d.frames(d.get(stream + "?order=id&limit=9"))
	if got := d.which(f, events); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, -1}) {
		t.Errorf("in the order of IDs: %v", got)
	}
	to := f.Frames[3].ID
	if got := d.which(d.frames(d.get(stream+"?order=time&limit=4&to="+to)), events); !slices.Equal(got, []int{1, 3, 0, 2}) {
		t.Errorf("a part: %v", got)
	}
	if got := d.which(d.frames(d.get(stream+"?order=time&repaired=exclude&limit=5")), events); !slices.Equal(got, []int{-1, 0, 2, 4, 6}) {
		t.Errorf("without the repaired ones: %v", got)
	}
	r := d.get(stream + "?order=time&limit=4")
	if d.want(r, http.StatusBadRequest, "InvalidRequest"); !strings.Contains(r.body, "a range of one page") {
		t.Errorf("a range of more than a page: %s", r.body)
	}
	d.want(d.get(stream+"?order=seq"), http.StatusBadRequest, "InvalidRequest")
}

// A stream of repaired events alone is looked at in bounded steps, which move the position.
func TestAReaderGetsPastManyRepairedEvents(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	repaired := make([]string, 10_500)
	for i := range repaired {
		repaired[i] = halfRepaired(2)[1]
	}
	openStream(t, store, "bluesky", append(repaired, event(firstUS, 1))...)
	d := start(t, store)
	first := d.frames(d.get("/v1/streams/bluesky/frames?repaired=exclude"))
	if first.Count != 0 || first.LagEntries == 0 {
		t.Fatalf("the first page has %d entries and %d follow", first.Count, first.LagEntries)
	}
	if second := d.frames(d.get("/v1/streams/bluesky/frames?repaired=exclude&from=" + first.Cursor)); second.Count != 1 || second.LagEntries != 0 {
		t.Errorf("the second has %d entries, and %d follow", second.Count, second.LagEntries)
	}
}
