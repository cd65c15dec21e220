package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/observe"
	"tempestd/internal/serve"
)

// sseLine waits for a line of an event stream with the given prefix.
func sseLine(t *testing.T, lines *bufio.Scanner, prefix string) {
	t.Helper()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			return
		}
	}
	t.Errorf("the event stream ended before a line %q: %v", prefix, lines.Err())
}

// A panic in a request, or in a goroutine beside one, ends that request or connection and is
// reported once. Others are not affected.
func TestAPanicEndsItsOwnRequestAlone(t *testing.T) {
	fails := func(path string) func(*daemon) {
		return func(d *daemon) {
			r := d.get(path)
			d.want(r, http.StatusInternalServerError, "InternalError")
			if !strings.Contains(r.body, `"error":"InternalError"`) {
				d.t.Errorf("answered %s", r.body)
			}
		}
	}
	loses := func(path, message string) func(*daemon) {
		return func(d *daemon) {
			s := d.dial(path)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if message != "" {
				_ = s.Write(ctx, websocket.MessageText, []byte(message))
			}
			for {
				if _, _, err := s.Read(ctx); err != nil {
					if ctx.Err() != nil {
						d.t.Error("the subscriber's connection was not ended")
					}
					return
				}
			}
		}
	}
	update := `{"type":"options_update","payload":{}}`
	for _, tt := range []struct {
		point  string
		victim func(*daemon)
		told   observe.Event
	}{
		{"http.request", fails("/v1/feeds"), observe.HTTPPanic},
		{"http.follow", fails("/v1/streams/bluesky/tail?after=0-0"), observe.HTTPPanic},
		{"http.follow", loses("/subscribe?cursor=1", ""), observe.HTTPPanic},
		{"http.follow", loses(pathV2+"?cursor=1", ""), observe.HTTPPanic},
		{"subscription.read", loses("/subscribe", ""), observe.TaskFailed},
		{"subscription.ping", loses(pathV2, ""), observe.TaskFailed},
		{"subscription.listen", loses("/subscribe", update), observe.TaskFailed},
		{"subscription.close", func(d *daemon) { _ = d.dial("/subscribe").Close(websocket.StatusNormalClosure, "") }, observe.TaskFailed},
	} {
		t.Run(tt.point, func(t *testing.T) {
			var armed atomic.Pointer[string]
			var followed, begun atomic.Int64
			opened := openStore(t)
			stream := openStream(t, opened, "bluesky")
			store(t, stream, event(firstUS, 1))
			d := start(t, opened, func(o *serve.Options) {
				o.Fault = func(point string) {
					if at := armed.Load(); at != nil && *at == point && armed.CompareAndSwap(at, nil) {
						panic("injected")
					}
					switch point {
					case "http.follow":
						followed.Add(1)
					case "subscription.read", "subscription.ping":
						begun.Add(1)
					}
				}
			})
			bystander := d.dial("/subscribe?cursor=1")
			bystander.read(1)
			req, err := d.request("GET", "/v1/streams/bluesky/tail?after=0-0", "Accept", "text/event-stream")
			if err != nil {
				t.Fatal(err)
			}
			events, err := d.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer events.Body.Close()
			lines := bufio.NewScanner(events.Body)
			sseLine(t, lines, "data: ")
			d.tailing("bluesky", 2)

			// Both bystanders have read their event and wait for the next one, and every goroutine of
			// theirs has begun, so the fault cannot hit them.
			eventually(t, "both wait", func() bool { return followed.Load() == 4 && begun.Load() == 2 })
			armed.Store(&tt.point)
			tt.victim(d)
			counter := d.observer.Metrics().Events.WithLabelValues(string(tt.told), "")
			// The observer counts an event first and then logs it.
			eventually(t, fmt.Sprintf("%s is told", tt.told), func() bool {
				log := d.log.String()
				return testutil.ToFloat64(counter) == 1 && strings.Contains(log, "injected") && strings.Contains(log, `"stack"`)
			})
			d.tailing("bluesky", 2) // the victim has released its slot

			store(t, stream, event(firstUS+1000, 2))
			bystander.read(1)
			sseLine(t, lines, "data: ")
			if n := testutil.ToFloat64(counter); n != 1 {
				t.Errorf("told %v times", n)
			}
			d.want(d.get("/v1/feeds"), http.StatusOK, "")
		})
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
