package jetstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

var roomy = jetstream.Limits{Events: 1 << 20, Bytes: 1 << 28, Delay: time.Hour}

func TestRunReadsToTheEnd(t *testing.T) {
	const n = 1000
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i := range n {
			write(ctx, t, ws, eventJSON(i))
		}
		ws.Close(websocket.StatusGoingAway, "server shutting down")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
	err := sink.run(jetstream.Limits{Events: 64, Bytes: 1 << 20})
	sink.expect(t, 0, n)
	if end := jetstream.Classify(err); !end.Clean {
		t.Errorf("the ending is %+v", end)
	}
}

func TestRunReadsThroughTLS(t *testing.T) {
	const n = 300
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for i := range n {
			write(r.Context(), t, ws, eventJSON(i))
		}
		ws.Close(websocket.StatusNormalClosure, "")
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	req := jetstream.Request{Endpoint: endpoint(t, "wss"+strings.TrimPrefix(server.URL, "https"))}
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{TLS: &tls.Config{RootCAs: roots}})}
	err := sink.run(jetstream.Limits{Events: 64, Bytes: 1 << 20, Delay: time.Millisecond})
	sink.expect(t, 0, n)
	if end := jetstream.Classify(err); !end.Clean || end.Code != 1000 {
		t.Errorf("the ending is %+v", end)
	}
}

func TestI7_BadFramesAreLeftOut(t *testing.T) {
	bad := []string{``, `{`, `not JSON`, `{"did":"a"}`, "{\"did\":\"\xff\"}", strings.Repeat("[", 100_000)}
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i, text := range bad {
			write(ctx, t, ws, eventJSON(i))
			ws.Write(ctx, websocket.MessageText, []byte(text))
		}
		ws.Write(ctx, websocket.MessageBinary, []byte(eventJSON(99)))
		write(ctx, t, ws, eventJSON(len(bad)))
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
	b := &messages.Batch{}
	rest, err := sink.conn.Run(b, sink, roomy)
	if rest != b || !jetstream.Classify(err).Clean {
		t.Fatalf("Run gave %p, %v", rest, err)
	}
	if b.Frames != 2*len(bad)+2 || b.Bad != len(bad)+1 || len(sink.bad) != len(bad)+1 {
		t.Errorf("%d frames, %d bad, %d reported: %q", b.Frames, b.Bad, len(sink.bad), sink.bad)
	}
	sink.take(rest)
	sink.expect(t, 0, len(bad)+1)
	if a := sink.conn.Activity(); a.Frames != uint64(b.Frames) || a.NewestUS != b.Events[len(bad)].TimeUS || a.LastFrame.IsZero() || a.Blocked {
		t.Errorf("the activity is %+v", a)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	const n = 100
	size := len(eventJSON(100))
	for name, c := range map[string]struct {
		lim  jetstream.Limits
		want int
	}{
		"by events":  {jetstream.Limits{Events: 7, Bytes: 1 << 20, Delay: time.Hour}, 7},
		"by bytes":   {jetstream.Limits{Events: 1000, Bytes: 4*size + 1, Delay: time.Hour}, 5},
		"to nothing": {jetstream.Limits{Events: 0, Bytes: 0, Delay: time.Hour}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
				for i := range n {
					write(ctx, t, ws, eventJSON(100+i))
				}
			})
			sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
			_ = sink.run(c.lim)
			sink.expect(t, 100, 100+n)
			if biggest := slices.Max(sink.sizes); biggest != c.want || sink.sizes[0] != c.want {
				t.Errorf("the batches have %v events", sink.sizes)
			}
		})
	}
}

func TestI5_BackpressureStopsReading(t *testing.T) {
	const n, each = 60_000, 500 // more than all buffers between the two ends hold
	written := make(chan int, n)
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i := range n {
			write(ctx, t, ws, eventJSON(i))
			written <- i
		}
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{}), free: make(chan struct{})}
	waits := 0
	sink.full = func() {
		if waits++; waits > 1 {
			return
		}
		if a := sink.conn.Activity(); !a.Blocked || a.BlockedSince.IsZero() || a.Frames != each {
			t.Errorf("the activity while blocked is %+v", a)
		}
		if len(sink.events) != each || len(written) == n {
			t.Errorf("%d events were handed over, %d written", len(sink.events), len(written))
		}
		close(sink.free)
	}
	err := sink.run(jetstream.Limits{Events: each, Bytes: 1 << 30, Delay: time.Hour})
	sink.expect(t, 0, n)
	if !jetstream.Classify(err).Clean || waits == 0 || sink.conn.Activity().Blocked {
		t.Errorf("%v after %d waits: %+v", err, waits, sink.conn.Activity())
	}
}

func TestBatchIsHandedOverAfterItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan int)
		req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) {
			for i := range more {
				write(ctx, t, ws, eventJSON(i))
			}
			ws.Close(websocket.StatusGoingAway, "")
		})
		sink := &collector{conn: dial(t, req, opt), taken: make(chan int)}
		ended := make(chan error)
		go func() { ended <- sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: 50 * time.Millisecond}) }()
		for round := range 3 {
			start := time.Now()
			more <- 3 * round
			more <- 3*round + 1
			more <- 3*round + 2
			if got := <-sink.taken; got != 3 {
				t.Errorf("round %d: a batch of %d, want 3", round, got)
			}
			if waited := time.Since(start); waited != 50*time.Millisecond {
				t.Errorf("round %d: handed over after %v", round, waited)
			}
			<-time.After(time.Hour) // a quiet feed: expired deadlines are not errors
		}
		close(more)
		if err := <-ended; !jetstream.Classify(err).Clean {
			t.Errorf("it ended with %v", err)
		}
		sink.expect(t, 0, 9)
	})
}

func TestBatchThatIsNotTakenGathersMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan int)
		req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) {
			for i := range more {
				write(ctx, t, ws, eventJSON(i))
			}
		})
		sink := &collector{conn: dial(t, req, opt), taken: make(chan int), free: make(chan struct{})}
		ended := make(chan error)
		go func() { ended <- sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20}) }()
		for i := range 5 {
			more <- i
			<-time.After(time.Minute)
		}
		if a := sink.conn.Activity(); a.Frames != 5 || a.Blocked {
			t.Errorf("the activity is %+v", a)
		}
		close(sink.free)
		if got := <-sink.taken; got != 5 {
			t.Errorf("a batch of %d, want 5", got)
		}
		close(more)
		<-ended
		sink.expect(t, 0, 5)
	})
}

func TestAFrameIsNeverSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, t, ws, eventJSON(0))
			text := eventJSON(1)
			w, err := ws.Writer(ctx, websocket.MessageText)
			if err != nil {
				t.Error(err)
				return
			}
			for i := 0; i < len(text); i += 100 {
				fmt.Fprint(w, text[i:min(i+100, len(text))])
				<-next
			}
			w.Close()
			<-next
		})
		sink := &collector{conn: dial(t, req, opt), taken: make(chan int)}
		ended := make(chan error)
		go func() { ended <- sink.run(jetstream.Limits{Events: 100, Bytes: 1 << 20, Delay: time.Millisecond}) }()
		for range (len(eventJSON(1)) + 99) / 100 {
			<-time.After(time.Second)
			next <- struct{}{}
		}
		got := <-sink.taken
		for got < 2 {
			got += <-sink.taken
		}
		close(next)
		<-ended
		sink.expect(t, 0, 2)
	})
}

func TestCloseNowEndsARunPromptly(t *testing.T) {
	t.Run("that reads", func(t *testing.T) {
		reading := make(chan struct{})
		req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, t, ws, eventJSON(0))
			close(reading)
			ws.Read(ctx)
		})
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
		ended := make(chan error)
		go func() { ended <- sink.run(roomy) }()
		<-reading
		sink.conn.CloseNow()
		sink.conn.CloseNow()
		if err := <-ended; !errors.Is(err, jetstream.ErrClosed) || jetstream.Classify(err).Cause != jetstream.CauseClosed {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("that waits for a batch", func(t *testing.T) {
		req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, t, ws, eventJSON(0))
			ws.Read(ctx)
		})
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{}), free: make(chan struct{})}
		sink.full = sink.conn.CloseNow
		rest, err := sink.conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 1, Bytes: 1})
		if rest != nil || !errors.Is(err, jetstream.ErrClosed) || !errors.Is(err, jetstream.ErrStopped) {
			t.Errorf("it ended with %v, %v", rest, err)
		}
		sink.expect(t, 0, 1)
	})
}

func TestPing(t *testing.T) {
	t.Run("answered", func(t *testing.T) {
		req := serve(t, func(ctx context.Context, ws *websocket.Conn) { ws.Read(ctx) })
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
		ended := make(chan error)
		go func() { ended <- sink.run(roomy) }()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		if err := sink.conn.Ping(ctx); err != nil {
			t.Error(err)
		}
		if a := sink.conn.Activity(); a.Frames != 0 || !a.LastFrame.IsZero() {
			t.Errorf("a pong counts as activity: %+v", a)
		}
		sink.conn.CloseNow()
		<-ended
	})
	t.Run("unanswered", func(t *testing.T) {
		over := make(chan struct{})
		req := serveRaw(t, func(net.Conn) { <-over })
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
		ended := make(chan error)
		go func() { ended <- sink.run(roomy) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := sink.conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the ping gave %v", err)
		}
		sink.conn.CloseNow()
		<-ended
		close(over)
	})
}

func TestClose(t *testing.T) {
	t.Run("is told to the server", func(t *testing.T) {
		saw := make(chan error, 1)
		req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
			_, _, err := ws.Read(ctx)
			saw <- err
		})
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{})}
		ended := make(chan error)
		go func() { ended <- sink.run(roomy) }()
		if err := sink.conn.Close(jetstream.CloseGoingAway, "tempestd is stopping"); err != nil {
			t.Error(err)
		}
		if err := <-saw; websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("the server saw %v", err)
		}
		if end := jetstream.Classify(<-ended); end.Cause != jetstream.CauseClosed || end.Clean {
			t.Errorf("the ending is %+v", end)
		}
	})
	t.Run("is bounded when the server is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			over := make(chan struct{})
			req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) {
				write(ctx, t, ws, eventJSON(0))
				<-over // it does not read or write: on a pipe, even the close frame gets stuck
			})
			sink := &collector{conn: dial(t, req, opt)}
			ended := make(chan error)
			go func() { ended <- sink.run(roomy) }()
			synctest.Wait()
			start := time.Now()
			_ = sink.conn.Close(jetstream.CloseNormal, "")
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			if err := <-ended; !errors.Is(err, jetstream.ErrClosed) {
				t.Errorf("Run ended with %v", err)
			}
			sink.expect(t, 0, 1)
			close(over)
		})
	})
}
