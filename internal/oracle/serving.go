package oracle

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

// readerLatency is the latency of readers' connections, one way. It is not drawn, so that the rest
// of a run is the same with and without readers. readerWindow is how many bytes may be under way:
// so few that a reader that does not read is soon noticed.
const (
	readerLatency = 2 * time.Millisecond
	readerWindow  = 4 << 10
)

// serving is the HTTP server of a process of the daemon.
type serving struct {
	*serve.Server
	net   *network
	host  string
	cut   context.CancelFunc
	ended chan error
}

// serve starts the HTTP server of a process.
func (w *world) serve(run *incarnation, observer *observe.Observer) {
	ctx, cut := context.WithCancel(context.Background())
	s := &serving{net: w.net, host: run.node.host, cut: cut, ended: make(chan error, 1),
		Server: serve.New(serve.Options{Store: run.store, Control: run.daemon, Observer: observer, Clock: w.wall, Limits: serve.Limits{DefaultStream: feedName}})}
	listener := w.net.listen(s.host)
	go func() { s.ended <- s.Serve(ctx, listener) }()
	run.http = s
}

// end ends the server within the context.
func (s *serving) end(ctx context.Context) error {
	err := s.Shutdown(ctx)
	s.cut()
	return errors.Join(err, <-s.ended)
}

// baseURL is the beginning of the URLs of a daemon. Each connection goes to the next one.
func (w *world) baseURL(n int) string { return "http://" + w.nodes[n%len(w.nodes)].host }

// client is an HTTP client whose connections belong to somebody.
func (w *world) client(of any) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, host string) (net.Conn, error) {
		return w.net.connect(ctx, of, host, readerLatency, readerWindow)
	}}}
}

// get makes a request. The caller closes the body.
func (r *reader) get(ctx context.Context, at *place, path string, header ...string) (*http.Response, error) {
	return request(ctx, r.client, http.MethodGet, at.base+path, nil, header...)
}

func request(ctx context.Context, client *http.Client, method, url string, body any, header ...string) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = strings.NewReader(string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil || resp.StatusCode < 300 {
		return resp, err
	}
	defer resp.Body.Close()
	refused := &refusal{status: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(&refused.body); err != nil {
		return nil, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return nil, refused
}

// refusal is an error that the daemon has answered.
type refusal struct {
	status int
	body   api.ErrorBody
}

func (e *refusal) Error() string {
	return fmt.Sprintf("status %d: %s: %s", e.status, e.body.Error, e.body.Message)
}

// heed handles an error of reading: it continues after what retention has dropped. Other errors
// pass by themselves, except those that say that the reader did something wrong, or that the daemon
// failed.
func (r *reader) heed(err error) error {
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		r.expire(expired.Oldest)
		return nil
	}
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case !ok:
	case refused.body.Error == api.NameCursorExpired:
		r.expire(refused.body.OldestCursor)
		return nil
	case refused.status != http.StatusServiceUnavailable && refused.status != http.StatusNotFound:
		r.fail("it is answered %v", refused)
	}
	return err
}

// framesPage is a page of a tail or of a consumer.
type framesPage struct {
	Token  string
	Frames []struct {
		ID    persistence.EntryID
		Event json.RawMessage
	}
	Cursor persistence.EntryID
}

const tailPath = "/v1/streams/" + feedName + "/tail?after="

// tailPages follows by requests that wait.
func tailPages(filter string) func(context.Context, *reader, *place) error {
	return func(ctx context.Context, r *reader, at *place) error {
		resp, err := r.get(ctx, at, fmt.Sprintf("%s%s&block_ms=%d&limit=%d%s", tailPath, r.after, at.rnd.IntN(15000), 1+at.rnd.IntN(100), filter))
		if err != nil {
			return r.heed(err)
		}
		defer resp.Body.Close()
		var page framesPage
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
			return err
		}
		for _, f := range page.Frames {
			r.see(f.ID, f.Event)
		}
		r.moved(page.Cursor)
		return nil
	}
}

// tailEvents follows by server-sent events, and rests after each of them until everything is healed.
func tailEvents(pause time.Duration) func(context.Context, *reader, *place) error {
	return func(ctx context.Context, r *reader, at *place) error {
		resp, err := r.get(ctx, at, tailPath+"0-0&live=sse", "Last-Event-ID", r.after.String())
		if err != nil {
			return r.heed(err)
		}
		return eachEvent(ctx, at, resp.Body, pause, func(e serverEvent) error {
			switch e.event {
			case "expired":
				var body api.ErrorBody
				if err := json.Unmarshal(e.data, &body); err != nil {
					r.fail("the event expired has the data %q", e.data)
					return err
				}
				r.expire(body.OldestCursor)
				return nil
			case "":
			default:
				r.fail("there is an event %q", e.event)
			}
			var id persistence.EntryID
			if err := id.UnmarshalText(e.id); err != nil {
				r.fail("an event has the id %q", e.id)
				return err
			}
			if e.data == nil {
				r.moved(id)
			} else {
				r.see(id, e.data)
			}
			return nil
		})
	}
}

// serverEvent is one of server-sent events.
type serverEvent struct {
	id, data []byte
	event    string
}

// eachEvent reads events until the response ends. An event that is not complete is none.
func eachEvent(ctx context.Context, at *place, body io.ReadCloser, pause time.Duration, do func(serverEvent) error) error {
	defer body.Close()
	var e serverEvent
	lines := bufio.NewReaderSize(body, 1<<10)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			e.add(line)
			continue
		}
		if e.id != nil || e.data != nil {
			if err := do(e); err != nil {
				return err
			}
			if pause > 0 && !at.world.healed.Load() {
				rest(ctx, pause)
			}
		}
		e = serverEvent{}
		if !at.world.gate.pass(ctx) {
			return ctx.Err()
		}
	}
}

// add adds a line to the event.
func (e *serverEvent) add(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		e.id = []byte(value)
	case "event":
		e.event = value
	case "data":
		if e.data != nil {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, value...)
	}
}
