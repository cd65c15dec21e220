package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/persistence"
)

// sseEvent is one event of an event stream, as the HTML standard's parser reads it. An event of
// only an id has no data. A comment has nothing at all.
type sseEvent struct{ id, name, data string }

// sse is the client's end of an event stream.
type sse struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Scanner
}

func (d *daemon) sse(path string, header ...string) *sse {
	d.t.Helper()
	req, err := d.request("GET", path, append([]string{"Accept", "text/event-stream"}, header...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		d.t.Fatalf("status %d, type %q", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 16<<20)
	return &sse{d.t, resp, in}
}

// block returns the next block of lines, false at the end of the stream.
func (s *sse) block() (e sseEvent, lines []string, ok bool) {
	var data []string
	for s.in.Scan() {
		line := s.in.Text()
		if line == "" {
			e.data = strings.Join(data, "\n")
			return e, lines, true
		}
		lines = append(lines, line)
		switch field, value, _ := strings.Cut(line, ":"); field {
		case "id":
			e.id = strings.TrimPrefix(value, " ")
		case "event":
			e.name = strings.TrimPrefix(value, " ")
		case "data":
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return e, lines, false
}

// next returns the next dispatched event, the zero event at the end.
func (s *sse) next() sseEvent {
	for {
		if e, _, ok := s.block(); !ok || e.data != "" {
			return e
		}
	}
}

func TestEventsOfAStream(t *testing.T) {
	store := openStore(t)
	events := append(mixed(1500, map[int]string{3: gap}), oddEvents...)
	events = append(events, "{\"lines\":\n[1,\r\n2]}", `{"text":"`+strings.Repeat("x", 300<<10)+`"}`)
	stream := openStream(t, store, "bluesky", events...)
	d := start(t, store)
	s := d.sse("/v1/streams/bluesky/tail?after=0-0")
	if _, lines, _ := s.block(); len(lines) != 1 || lines[0] != "retry: 1000" {
		t.Errorf("it begins with %q", lines)
	}
	for i, want := range events {
		e := s.next()
		if want = strings.ReplaceAll(want, "\r\n", "\n\n"); e.id != at(i) || e.data != want || e.name != "" {
			t.Fatalf("event %d is %.200q, want %.100q", i, e, want)
		}
	}
	add(t, stream, `{"live":1}`)
	if e := s.next(); e.data != `{"live":1}` || e.id != at(len(events)) {
		t.Errorf("what was appended came as %q", e)
	}
	d.tailing("bluesky", 1)
	if err := stream.Close(context.Background(), "moved"); err != nil {
		t.Fatal(err)
	}
	if e := s.next(); e.name != "closed" || !strings.Contains(e.data, `"closed_reason":"moved"`) {
		t.Errorf("the end came as %q", e)
	}
	if _, lines, ok := s.block(); ok {
		t.Errorf("after the end came %q", lines)
	}
	if r := d.do("GET", "/v1/streams/bluesky/tail?after=0-0&live=sse", "Last-Event-ID", at(len(events))); r.status != http.StatusNoContent {
		t.Errorf("a client that comes back after the end: %d %s, want 204", r.status, r.body)
	}
	s = d.sse("/v1/streams/bluesky/tail?after=" + at(len(events)))
	if e := s.next(); e.name != "closed" {
		t.Errorf("a client that comes for the first time is told %q", e)
	}
	d.tailing("bluesky", 0)
}

func TestEventsResumeAfterTheLastID(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", mixed(20, map[int]string{7: commit("did:plc:b", "app.bsky.feed.post", 7)})...)
	d := start(t, store)
	if e := d.sse("/v1/streams/bluesky/tail?after=0-0", "Last-Event-ID", at(11)).next(); e.id != at(12) {
		t.Errorf("after %s came %q", at(11), e)
	}
	if e := d.sse("/v1/streams/bluesky/tail?after=0-0&live=sse&lastEventId=" + at(15)).next(); e.id != at(16) {
		t.Errorf("resumed at %s with lastEventId in the query", e.id)
	}
	if e := d.sse("/v1/streams/bluesky/tail?live=sse&lastEventId="+at(15), "Last-Event-ID", at(16)).next(); e.id != at(17) {
		t.Errorf("resumed at %s with lastEventId in the query and a newer one in the header", e.id)
	}
	if e := d.sse("/v1/streams/bluesky/tail?live=sse", "Last-Event-ID", at(18)).next(); e.id != at(19) {
		t.Errorf("without a cursor in the URL came %q", e)
	}
	// A reader with a filter learns how far it is: an event with only an id, which is not
	// dispatched.
	s := d.sse("/v1/streams/bluesky/tail?live=sse&after=0-0&dids=did:plc:b")
	if e := s.next(); e.id != at(7) {
		t.Errorf("the filter lets %q pass", e)
	}
	if e, lines, ok := s.block(); !ok || e.id != at(19) || e.data != "" || len(lines) != 1 {
		t.Errorf("then came %q", lines)
	}
	d.want(d.do("GET", "/v1/streams/bluesky/tail?after=0-0", "Accept", "text/event-stream", "Last-Event-ID", "yesterday"), http.StatusBadRequest, "InvalidRequest")
	d.want(d.do("GET", "/v1/streams/bluesky/tail?after=0-0&live=sse&lastEventId=yesterday"), http.StatusBadRequest, "InvalidRequest")
	d.want(d.get("/v1/streams/bluesky/tail?after=0-0&live=ws"), http.StatusBadRequest, "InvalidRequest")
	d.want(d.get("/v1/streams/bluesky/tail?live=sse"), http.StatusBadRequest, "InvalidRequest")
	d.want(d.get("/v1/streams/bluesky/tail?live=sse&after=0-0&block_ms=5"), http.StatusBadRequest, "InvalidRequest")
	d.want(d.get("/v1/streams/other/tail?live=sse&after=0-0"), http.StatusNotFound, "NoSuchStream")
	if r := d.do("HEAD", "/v1/streams/bluesky/tail?live=sse&after=0-0"); r.status != http.StatusOK || r.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
}

func TestEventsOfAnExpiredCursor(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 10)...)
	add(t, stream, numbered(10, 20)...)
	trim := func() {
		if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 10}); err != nil {
			t.Fatal(err)
		}
	}
	trim()
	d := start(t, store)
	d.want(d.get("/v1/streams/bluesky/tail?live=sse&after="+at(3)), http.StatusGone, "CursorExpired")
	d.want(d.do("GET", "/v1/streams/bluesky/tail?live=sse&after=0-0", "Last-Event-ID", at(3)), http.StatusGone, "CursorExpired")
	if e := d.sse("/v1/streams/bluesky/tail?after=0-0").next(); e.id != at(10) {
		t.Errorf("from the beginning came %q", e)
	}
}

// expiring is a stream that overtakes its reader after the first page.
type expiring struct {
	quiet
	reads int
}

func (e *expiring) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	if e.reads++; e.reads > 1 {
		return persistence.Page{}, &persistence.CursorExpiredError{Stream: "bluesky", Cursor: after.Lower(), Oldest: persistence.EntryID{MS: 9}}
	}
	return persistence.Page{Entries: []persistence.Entry{{ID: persistence.EntryID{MS: 5}, Event: []byte("{}")}}, Cursor: persistence.EntryID{MS: 5}, Behind: 7}, nil
}

func TestAReaderThatIsOvertakenIsTold(t *testing.T) {
	d := start(t, only{stream: &expiring{}})
	s := d.sse("/v1/streams/bluesky/tail?after=0-0")
	if e := s.next(); e.id != "5-0" {
		t.Errorf("first came %q", e)
	}
	if e := s.next(); e.name != "expired" || !strings.Contains(e.data, `"error":"CursorExpired"`) || !strings.Contains(e.data, `"oldest_cursor":"9-0"`) {
		t.Errorf("then came %q", e)
	}
	if _, lines, ok := s.block(); ok {
		t.Errorf("then came %q", lines)
	}
}

func TestEventsHaveAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startVirtual(t, quiet{})
		s := d.sse("/v1/streams/bluesky/tail?after=0-0")
		began := time.Now()
		for range 20 {
			if e, _, ok := s.block(); !ok || e != (sseEvent{}) {
				t.Fatalf("a quiet stream sent %q, %v", e, ok)
			}
			if silent := time.Since(began); silent > 15*time.Second {
				t.Errorf("silent for %v", silent)
			}
			began = time.Now()
		}
		stopped := make(chan error)
		go func() { stopped <- d.Shutdown(context.Background()) }()
		for {
			if _, lines, ok := s.block(); !ok {
				break
			} else if len(lines) != 1 || !strings.HasPrefix(lines[0], ":") {
				t.Errorf("the stop came as %q", lines)
			}
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// endless is a stream that always has more entries.
type endless struct{ quiet }

func (endless) Tail(_ context.Context, after persistence.StreamCursor, _ time.Duration, limit int) (persistence.Page, error) {
	read := persistence.Page{Behind: 1}
	id := after.Lower()
	for range limit {
		id = id.Next()
		read.Entries = append(read.Entries, persistence.Entry{ID: id, Event: []byte(`"` + strings.Repeat("x", 500) + `"`)})
	}
	read.Cursor = id
	return read, nil
}

func TestI8_ASlowReaderOfEventsLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p := startVirtual(t, endless{})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /v1/streams/bluesky/tail?after=0-0&live=sse HTTP/1.1\r\nHost: tempestd\r\n\r\n")
		if _, err := io.CopyN(io.Discard, conn, 10<<20); err != nil {
			t.Fatalf("a reader that reads was cut: %v", err)
		}
		<-time.After(11 * time.Second) // the client reads nothing
		if n, err := io.Copy(io.Discard, conn); err != nil || n > 128<<10 {
			t.Errorf("%d bytes and %v, want the connection closed", n, err)
		}
		d.tailing("bluesky", 0)
	})
}
