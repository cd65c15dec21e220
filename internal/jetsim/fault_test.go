package jetsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"tempestd/internal/jetsim"
)

const pipedURL = "ws://pipe/subscribe?"

func TestFaultsThatEndConnections(t *testing.T) {
	unclean := func(err error) bool { return websocket.CloseStatus(err) == -1 }
	for name, ended := range map[string]func(error) bool{
		jetsim.FaultClose: func(err error) bool {
			var ce websocket.CloseError
			return errors.As(err, &ce) && ce.Code == websocket.StatusGoingAway && ce.Reason == "server shutting down"
		},
		// It ends inside a frame.
		jetsim.FaultEOF:   func(err error) bool { return unclean(err) && errors.Is(err, io.ErrUnexpectedEOF) },
		jetsim.FaultReset: func(err error) bool { return unclean(err) && strings.Contains(err.Error(), "reset") },
		jetsim.FaultCrash: func(err error) bool { return unclean(err) && errors.Is(err, io.EOF) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, jetsim.Options{Backlog: 100})
			c := subscribe(t, s, "cursor=0")
			c.read(100)
			if err := s.Inject(jetsim.Fault{Name: name}); err != nil {
				t.Fatal(err)
			}
			if frames, err := c.rest(); !ended(err) || len(frames) > 0 {
				t.Errorf("the client sees %d frames and %v", len(frames), err)
			}
			if st := s.Stats(); st.Faults[name] != 1 {
				t.Errorf("counted: %v", st.Faults)
			}
		})
	}
}

func TestOversizeFrameExceedsAnyLimit(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	c := subscribe(t, s, "cursor=0")
	c.conn.SetReadLimit(16 << 20)
	c.read(10)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultOversize}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.rest(); !errors.Is(err, websocket.ErrMessageTooBig) {
		t.Errorf("the client sees %v", err)
	}
}

func TestOversizeFrameIsTwiceTheSubscribersLimit(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	c := subscribe(t, s, "cursor=0&maxMessageSizeBytes=65536")
	c.read(10)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultOversize}); err != nil {
		t.Fatal(err)
	}
	if frame := c.read(1)[0]; len(frame) != 2*65536 {
		t.Errorf("the frame has %d bytes", len(frame))
	}
}

// eventLike reports whether a frame has what every reader requires of an event.
func eventLike(kind websocket.MessageType, b []byte) bool {
	var f struct {
		DID, Kind *string
		TimeUS    int64 `json:"time_us"`
	}
	return kind == websocket.MessageText && utf8.Valid(b) && json.Unmarshal(b, &f) == nil && f.DID != nil && f.Kind != nil
}

func TestGarbageIsNeverAnEventAndLosesNone(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	c := subscribe(t, s, "cursor=0")
	good := c.read(500)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultGarbage}); err != nil {
		t.Fatal(err)
	}
	s.Produce(1000) // the fault may occur while the client is at the tip
	bad := 0
	for len(good) < int(s.Stats().Contents) {
		kind, b, err := c.conn.Read(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if eventLike(kind, b) {
			good = append(good, b)
		} else {
			bad++
		}
	}
	if r := verify(t, s, good, jetsim.VerifyOptions{}); !r.OK() || bad != 10 {
		t.Errorf("%d bad frames; %v", bad, r)
	}
}

func TestStallSendsNothingButAnswersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5})
		defer end()
		c := subscribeWith(t, pipedURL+"cursor=0", dial)
		c.read(5)
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultStall, For: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.Produce(5)
		began := time.Now()
		pinged := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			pinged <- c.conn.Ping(ctx)
		}()
		c.read(5) // the client answers a ping only while it reads
		if err := <-pinged; err != nil {
			t.Errorf("a ping of a stalled server: %v", err)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("the stall took %v", d)
		}
	})
}

func TestStallSparesNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5})
		defer end()
		subscribeWith(t, pipedURL, dial)
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultStall}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		subscribeWith(t, pipedURL+"cursor=0", dial).read(5)
		if d := time.Since(began); d != 0 {
			t.Errorf("a new connection waited %v", d)
		}
	})
}

func TestHalfOpenNeitherAnswersNorEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5})
		defer end()
		c := subscribeWith(t, pipedURL+"cursor=0", dial)
		c.read(5)
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultHalfOpen}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.Produce(5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, b, err := c.conn.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a half-open connection gives %q, %v", b, err)
		}
		if s.Stats().Subscribers != 1 {
			t.Error("the server let go of it")
		}
	})
}

func TestSlowDribbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5})
		defer end()
		c := subscribeWith(t, pipedURL+"cursor=0", dial)
		c.read(5)
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultSlow, For: 5 * time.Second}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		s.Produce(1000)
		frames := c.read(1000)
		if d := time.Since(began); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("a thousand frames took %v, of which 5s at 3 kB/s", d)
		}
		if _, err := s.Verify(stream(frames), jetsim.VerifyOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestRefuseAnswersRetryAfterForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5})
		defer end()
		c := subscribeWith(t, pipedURL, dial)
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultRefuse, For: 3 * time.Second}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.rest(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("a connection ends with %v", err)
		}
		var codes []int
		for range 2 {
			_, resp, err := websocket.Dial(t.Context(), pipedURL, dial)
			if err == nil || resp == nil || resp.Header.Get("Retry-After") != "1" {
				t.Fatalf("a new connection gets %v, %v", resp, err)
			}
			codes = append(codes, resp.StatusCode)
		}
		if slices.Sort(codes); !slices.Equal(codes, []int{429, 503}) {
			t.Errorf("answers %v", codes)
		}
		s.StepClock(-time.Hour)     // the fault's duration does not depend on the server's clock
		time.Sleep(3 * time.Second) // virtual time
		subscribeWith(t, pipedURL+"cursor=0", dial).read(5)
	})
}

func TestCrashedServerTakesNoConnections(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 5})
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, resp, err := websocket.Dial(t.Context(), s.URL(), nil); err == nil || resp != nil {
		t.Errorf("a dead server answers %v, %v", resp, err)
	}
}

func TestReaderThatStopsIsCutInMidFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial, end := startPiped(t, jetsim.Options{Backlog: 5000})
		defer end()
		c := subscribeWith(t, pipedURL+"cursor=0", dial)
		c.read(1)
		time.Sleep(3 * time.Second) // virtual time, below the write timeout
		c.read(1)
		time.Sleep(8 * time.Second)
		if _, err := c.rest(); websocket.CloseStatus(err) != -1 || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("after 8 s without reading the client sees %v", err)
		}
	})
}

func TestServerPingsEvery30sAndWantsThePong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{})
		defer end()
		pings := 0
		opt := *dial
		// The client stops answering after two pings.
		opt.OnPingReceived = func(context.Context, []byte) bool { pings++; return pings <= 2 }
		c := subscribeWith(t, pipedURL, &opt)
		began := time.Now()
		if _, err := c.rest(); websocket.CloseStatus(err) != -1 {
			t.Errorf("ends with %v", err)
		}
		if d := time.Since(began); d != 95*time.Second || pings != 3 {
			t.Errorf("%d pings, then the end after %v; want the third unanswered for 5s", pings, d)
		}
		_ = s
	})
}

func TestShutdownSaysGoodbye(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 5})
	c := subscribe(t, s, "cursor=0")
	c.read(5)
	ended := make(chan error)
	go func() { _, err := c.rest(); ended <- err }()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ce websocket.CloseError
	if err := <-ended; !errors.As(err, &ce) || ce.Code != 1001 || ce.Reason != "server shutting down" {
		t.Errorf("ends with %v", err)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultEOF}); !errors.Is(err, jetsim.ErrClosed) {
		t.Errorf("a fault afterwards: %v", err)
	}
}

func TestScheduledFaultsCountFromTheFirstFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dial, end := startPiped(t, jetsim.Options{Backlog: 5, Faults: []jetsim.Fault{
			{Name: jetsim.FaultClose, After: 10 * time.Second, Every: 60 * time.Second},
			{Name: jetsim.FaultGarbage, Every: 50 * time.Second},
		}})
		defer end()
		time.Sleep(time.Hour)
		if n := s.Stats().Faults; len(n) != 0 {
			t.Errorf("before anyone reads: %v", n)
		}
		c := subscribeWith(t, pipedURL+"cursor=0", dial)
		c.read(5)
		began := time.Now()
		if _, err := c.rest(); websocket.CloseStatus(err) != websocket.StatusGoingAway || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(125 * time.Second) // up to 135 s
		if n := s.Stats().Faults; n[jetsim.FaultClose] != 3 || n[jetsim.FaultGarbage] != 2 {
			t.Errorf("injected: %v", n)
		}
	})
}

func TestAnyFaultsLoseNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		faults := rapid.SliceOfN(rapid.SampledFrom([]string{jetsim.FaultClose, jetsim.FaultEOF, jetsim.FaultReset, jetsim.FaultCrash, jetsim.FaultGarbage}), 1, 3).Draw(rt, "faults")
		block := rapid.IntRange(1, 100).Draw(rt, "block")
		s, err := jetsim.New(jetsim.Options{Block: block, Segment: 50, Accounts: 15})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		if err := s.Listen("127.0.0.1:0"); err != nil {
			rt.Fatal(err)
		}
		var held [][]byte
		have := map[string]bool{}
		s.Produce(1)
		for i := 0; i <= len(faults); i++ {
			s.Produce(rapid.Int64Range(1, 30).Draw(rt, "events"))
			held = append(held, catchUp(t, s, have)...)
			if i == len(faults) {
				break
			}
			fault := jetsim.Fault{Name: faults[i]}
			if fault.Name == jetsim.FaultCrash {
				fault.For = time.Microsecond
			}
			if err := s.Inject(fault); err != nil {
				rt.Fatal(err)
			}
		}
		r, err := s.Verify(stream(held), jetsim.VerifyOptions{})
		if err != nil || !r.OK() || r.Sent != s.Stats().Contents {
			rt.Fatalf("%v %v %q", r, err, r.Examples)
		}
	})
}

// catchUp replays everything and returns the events that the consumer does not have yet.
func catchUp(t *testing.T, s *jetsim.Sim, have map[string]bool) (fresh [][]byte) {
	var conn *websocket.Conn
	for err := error(nil); conn == nil; {
		if conn, _, err = websocket.Dial(t.Context(), s.URL()+"?cursor=0", nil); err != nil && t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	defer conn.CloseNow()
	for n := s.Stats().Contents; int64(len(have)) < n; {
		kind, b, err := conn.Read(t.Context())
		if err != nil {
			return append(fresh, catchUp(t, s, have)...)
		}
		var f frame
		if !eventLike(kind, b) || json.Unmarshal(b, &f) != nil || have[f.identity()] {
			continue
		}
		have[f.identity()] = true
		fresh = append(fresh, b)
	}
	return fresh
}

func TestControlEndpoint(t *testing.T) {
	s := newSim(t, jetsim.Options{})
	for target, want := range map[string]int{
		"/_sim/produce/100":    204,
		"/_sim/produce/many":   400,
		"/_sim/fault/stall:1s": 204,
		"/_sim/fault/explode":  400,
		"/_sim/fault/stall@1s": 400,
		"/_sim/stop-producing": 204,
		"/_sim/forget/10":      204,
		"/_sim/forget/all":     400,
		"/_sim/nothing":        404,
	} {
		if resp, body := get(t, s, http.MethodPost, target); resp.StatusCode != want {
			t.Errorf("%s answers %d %q, want %d", target, resp.StatusCode, body, want)
		}
	}
	var st jetsim.Stats
	resp, body := get(t, s, http.MethodGet, "/_sim/stats")
	if err := json.Unmarshal([]byte(body), &st); err != nil || resp.StatusCode != 200 || st.Faults["stall"] != 1 {
		t.Errorf("stats: %d %q %v", resp.StatusCode, body, err)
	}
}
