package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

const longPoll = durable + "?live=long-poll&offset="

// Section 5.7: stored messages are answered at once, new ones as soon as they are appended.
func TestDurableLongPoll(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 2)...)
		d := start(t, store)
		r := d.get(longPoll + "-1")
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(1), "Stream-Up-To-Date", "true", "Cache-Control", "public, max-age=60, stale-while-revalidate=300")
		d.wantCursor(r)
		if r.status != http.StatusOK || r.body != `[{"n":0},{"n":1}]` || r.header.Get("ETag") == "" {
			t.Errorf("what is there: %d %q", r.status, r.body)
		}
		for i, offset := range []string{offsetOf(1), "now"} {
			got := make(chan response)
			go func() { got <- d.get(longPoll + offset) }()
			d.tailing("bluesky", 1)
			add(t, stream, fmt.Sprintf(`{"new":%d}`, i))
			r := <-got
			d.wantHeaders(r, "Stream-Next-Offset", offsetOf(2+i), "Stream-Up-To-Date", "true", "Stream-Closed", "")
			d.wantCursor(r)
			if want := fmt.Sprintf(`[{"new":%d}]`, i); r.status != http.StatusOK || r.body != want {
				t.Errorf("from %s: %d %q, want %q", offset, r.status, r.body, want)
			}
			d.tailing("bluesky", 0)
		}

		got := make(chan response)
		go func() { got <- d.get(longPoll + offsetOf(3)) }()
		d.tailing("bluesky", 1)
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		r = <-got
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(3), "Stream-Up-To-Date", "true", "Stream-Closed", "true")
		if r.status != http.StatusNoContent {
			t.Errorf("a stream that is closed while a reader waits: %d", r.status)
		}
	})
}

// Section 9.1: the cursor that a reader sends changes the next one.
func TestDurableLongPollCursor(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 2)...)
	d := start(t, store)
	first := d.get(longPoll + "-1").header.Get("Stream-Cursor")
	second := d.get(longPoll + "-1&cursor=" + first).header.Get("Stream-Cursor")
	if len(second) < len(first) || len(second) == len(first) && second <= first {
		t.Errorf("after the cursor %s comes %s", first, second)
	}
}

// Section 5.7, 204: when its time is over, a long-poll returns its offset and the cursor for the
// next request.
func TestDurableLongPollTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startVirtual(t, quiet{})
		began := time.Now()
		r := d.get(longPoll + offsetOf(1))
		d.wantHeaders(r, "Stream-Up-To-Date", "true", "Stream-Closed", "", "Cache-Control", "no-store", "ETag", "")
		d.wantCursor(r)
		if waited := time.Since(began); r.status != http.StatusNoContent || r.body != "" || waited != 25*time.Second {
			t.Errorf("after %v: %d %q, want 204 after 25 s", waited, r.status, r.body)
		}
	})
}

// A waiting reader needs a slot as every tail does, and is released when the server stops.
func TestDurableReadersAreAdmitted(t *testing.T) {
	for _, live := range []string{"long-poll", "sse"} {
		store := openStore(t)
		openStream(t, store, "bluesky", numbered(0, 2)...)
		d := start(t, store, func(o *serve.Options) { o.MaxTails = 1 })
		path := durable + "?offset=now&live=" + live
		got := make(chan response)
		go func() { got <- d.get(path) }()
		d.tailing("bluesky", 1)
		r := d.get(path)
		d.want(r, http.StatusTooManyRequests, "TooManyTails")
		if r.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		if r := d.get(durable); r.status != http.StatusOK {
			t.Errorf("a catch-up, which does not wait, is answered %d", r.status)
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		r = <-got
		if strings.Contains(r.body, "streamClosed") || r.header.Get("Stream-Closed") != "" || r.status != http.StatusOK && r.status != http.StatusNoContent {
			t.Errorf("the server's end passes for the stream's: %d %q", r.status, r.body)
		}
	}
}

// messageEvent is one event of an event stream. A comment has no type.
type messageEvent struct{ kind, data string }

// control returns the data of a control event.
type controlData struct {
	StreamNextOffset, StreamCursor string
	UpToDate, StreamClosed         bool
}

func (e messageEvent) control(t *testing.T) (c controlData) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.data), &c); err != nil || e.kind != "control" {
		t.Fatalf("a control event was to come, not %q, %v", e, err)
	}
	return c
}

// messageReader reads events as browsers do.
type messageReader struct {
	t    *testing.T
	body *bufio.Scanner
	resp *http.Response
}

func (d *daemon) events(t *testing.T, query string) *messageReader {
	t.Helper()
	req, err := d.request("GET", durable+"?live=sse&"+query)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Content-Length") != "" ||
		!strings.Contains(resp.Header.Get("Cache-Control"), "no-cache") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("answered %d with %v", resp.StatusCode, resp.Header)
	}
	body := bufio.NewScanner(resp.Body)
	body.Buffer(nil, 16<<20)
	return &messageReader{t, body, resp}
}

// next returns the next event, false at the end of the connection.
func (e *messageReader) next() (messageEvent, bool) {
	e.t.Helper()
	var event messageEvent
	var data []string
	for e.body.Scan() {
		field, value, _ := strings.Cut(e.body.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case e.body.Text() == "":
			event.data = strings.Join(data, "\n")
			return event, true
		case field == "event":
			event.kind = value
		case field == "data":
			data = append(data, value)
		}
	}
	if err := e.body.Err(); err != nil {
		e.t.Error(err)
	}
	return event, false
}

func (e *messageReader) must() messageEvent {
	e.t.Helper()
	event, ok := e.next()
	if !ok {
		e.t.Fatal("the connection ended")
	}
	return event
}

// Section 5.8: every data event is followed by a control event with its end. New messages are sent
// while the connection lives. The end of the stream ends the connection.
func TestDurableEvents(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 2)...)
		d := start(t, store)
		e := d.events(t, "offset=-1")
		if got := e.must(); got != (messageEvent{"data", "[\n{\"n\":0},\n{\"n\":1}\n]"}) {
			t.Errorf("the first event is %q", got)
		}
		first := e.must().control(t)
		if first.StreamNextOffset != offsetOf(1) || !first.UpToDate || first.StreamClosed || !decimal.MatchString(first.StreamCursor) {
			t.Errorf("control %+v", first)
		}
		add(t, stream, numbered(2, 3)...)
		if got := e.must(); got != (messageEvent{"data", "[\n{\"n\":2}\n]"}) {
			t.Errorf("what comes later is %q", got)
		}
		if c := e.must().control(t); c.StreamNextOffset != offsetOf(2) || !c.UpToDate || c.StreamClosed || c.StreamCursor < first.StreamCursor {
			t.Errorf("control %+v", c)
		}
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		if c := e.must().control(t); c != (controlData{StreamNextOffset: offsetOf(2), UpToDate: true, StreamClosed: true}) {
			t.Errorf("the last control is %+v, want the end and no cursor", c)
		}
		if event, more := e.next(); more {
			t.Errorf("after the end comes %q", event)
		}
		for _, offset := range []string{offsetOf(2), "now"} {
			e := d.events(t, "offset="+offset)
			if c := e.must().control(t); c != (controlData{StreamNextOffset: offsetOf(2), UpToDate: true, StreamClosed: true}) {
				t.Errorf("at the end of a closed stream: %+v", c)
			}
			if event, more := e.next(); more {
				t.Errorf("after the end comes %q", event)
			}
		}
	})
}

// Section 7, now: the reader gets its offset at once.
func TestDurableEventsFromNow(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky")
		d := start(t, store)
		for i, at := range []string{emptyOffset, offsetOf(0), offsetOf(1)} {
			e := d.events(t, "offset=now&cursor=999999999")
			c := e.must().control(t)
			if c.StreamNextOffset != at || !c.UpToDate || c.StreamClosed || len(c.StreamCursor) < 9 || c.StreamCursor == "999999999" {
				t.Errorf("control %+v, want %s, up to date", c, at)
			}
			add(t, stream, numbered(i, i+1)...)
			if got, want := e.must().data, fmt.Sprintf("[\n{\"n\":%d}\n]", i); got != want {
				t.Errorf("what came is %q, want %q", got, want)
			}
			e.resp.Body.Close()
		}
	})
}

// An event may have line ends between its JSON tokens. Each of its lines becomes a data line.
func TestDurableEventsOfSeveralLines(t *testing.T) {
	events := append([]string{"{\n  \"a\": 1,\r\n\t\"b\":\r2\n}", " {\"leading\":\" space\"}\n", "\r\n\r\n{\"event\" : \"control\"}\n\n"}, oddEvents...)
	store := openStore(t)
	openStream(t, store, "bluesky", events...)
	d := start(t, store)
	got := d.events(t, "offset=-1").must()
	if want := "[\n" + strings.ReplaceAll(strings.Join(events, ",\n"), "\r", "\n") + "\n]"; got != (messageEvent{"data", want}) {
		t.Errorf("the events arrive as\n%q, want\n%q", got.data, want)
	}
	var messages []json.RawMessage
	if err := json.Unmarshal([]byte(got.data), &messages); err != nil || len(messages) != len(events) {
		t.Errorf("%d messages, %v", len(messages), err)
	}
}

// A reader that is far behind gets one bounded event after the other.
func TestDurableEventsAreBounded(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 2500)...)
	d := start(t, store)
	e := d.events(t, "offset=-1")
	var all []string
	for done := false; !done; {
		event := e.must()
		var page []json.RawMessage
		if err := json.Unmarshal([]byte(event.data), &page); err != nil || len(page) > 1000 {
			t.Fatalf("%d messages in one event, %v", len(page), err)
		}
		for _, m := range page {
			all = append(all, string(m))
		}
		c := e.must().control(t)
		if done = c.UpToDate; done != (len(all) == 2500) || c.StreamNextOffset != offsetOf(len(all)-1) {
			t.Errorf("after %d messages: %+v", len(all), c)
		}
	}
	if !slices.Equal(all, numbered(0, 2500)) {
		t.Error("the messages are not those of the stream, in order")
	}
}

// Section 9.2: a connection ends after some time. Until then it is never silent for long.
func TestDurableEventsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startVirtual(t, quiet{})
		began := time.Now()
		e := d.events(t, "offset="+offsetOf(1))
		if c := e.must().control(t); !c.UpToDate || c.StreamClosed {
			t.Errorf("control %+v", c)
		}
		last, comments := began, 0
		for {
			event, more := e.next()
			if now := time.Now(); now.Sub(last) > 15*time.Second {
				t.Errorf("silent for %v", now.Sub(last))
			}
			last = time.Now()
			if !more {
				break
			}
			if event != (messageEvent{}) {
				t.Errorf("%q came on a quiet stream", event)
			}
			comments++
		}
		if lived := time.Since(began); lived != time.Minute || comments < 4 {
			t.Errorf("lived for %v with %d comments, want a minute", lived, comments)
		}
		d.tailing("bluesky", 0)
	})
}

func TestI8_ASlowReaderOfMessagesLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, p := startVirtual(t, endless{})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s?live=sse&offset=%s HTTP/1.1\r\nHost: tempestd\r\n\r\n", durable, offsetOf(1))
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

// The end of a stream and its last messages are atomic: a reader never learns of the end before it
// has them, and never has to ask for them after it.
func TestDurableEndIsAtomic(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		d := start(t, store)
		for i := range 100 {
			name := fmt.Sprintf("s%d", i)
			stream := openStream(t, store, name, numbered(0, 1)...)
			closed := make(chan error, 1)
			go func() {
				add(t, stream, numbered(1, 3)...)
				closed <- stream.Close(context.Background(), "done")
			}()
			var got strings.Builder
			for offset := "-1"; ; {
				r := d.get("/streams/" + name + "?live=long-poll&offset=" + offset)
				got.WriteString(r.body)
				offset = r.header.Get("Stream-Next-Offset")
				if r.header.Get("Stream-Closed") != "" || r.status >= 300 {
					break
				}
			}
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
			if s := strings.ReplaceAll(got.String(), "][", ","); s != `[{"n":0},{"n":1},{"n":2}]` {
				t.Fatalf("run %d: the reader was told of the end after %q", i, s)
			}
		}
	})
}
