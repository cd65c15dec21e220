package jetsim_test

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"tempestd/internal/jetsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a simulator on a loopback port and closes it with the test.
func start(t testing.TB, opt jetsim.Options) *jetsim.Sim {
	t.Helper()
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// client is a subscriber of a test.
type client struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

// subscribe connects with a raw query.
func subscribe(t testing.TB, s *jetsim.Sim, query string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, s.URL()+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t, ctx, conn}
}

// read reads n frames.
func (c *client) read(n int) [][]byte {
	c.t.Helper()
	var frames [][]byte
	for range n {
		kind, b, err := c.conn.Read(c.ctx)
		if err != nil {
			c.t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		if kind != websocket.MessageText {
			c.t.Fatalf("frame %d is of type %v", len(frames), kind)
		}
		frames = append(frames, b)
	}
	return frames
}

// rest reads until the connection ends.
func (c *client) rest() (frames [][]byte, err error) {
	for {
		_, b, err := c.conn.Read(c.ctx)
		if err != nil {
			return frames, err
		}
		frames = append(frames, b)
	}
}

func stream(frames [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, f := range frames {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func verify(t testing.TB, s *jetsim.Sim, frames [][]byte, opt jetsim.VerifyOptions) jetsim.Report {
	t.Helper()
	r, err := s.Verify(stream(frames), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplayThenLiveHoldsEverything(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 5000})
	c := subscribe(t, s, "cursor=0")
	frames := c.read(5000)
	s.Produce(1000)
	frames = append(frames, c.read(int(s.Stats().Contents)-5000)...)
	r := verify(t, s, frames, jetsim.VerifyOptions{})
	if !r.OK() || r.Sent != s.Stats().Contents || r.Stored != r.Sent {
		t.Fatalf("%v\n%q", r, r.Examples)
	}
	if want := "sent="; !bytes.HasPrefix([]byte(r.String()), []byte(want)) {
		t.Errorf("report is %q", r)
	}
}

func TestVerifyCatchesWhatIsWrong(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 3000})
	frames := subscribe(t, s, "cursor=0").read(3000)
	damage := func(f func([][]byte) [][]byte) jetsim.Report {
		return verify(t, s, f(slices.Clone(frames)), jetsim.VerifyOptions{})
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Delete(f, 1000, 1001) }); r.Lost != 1 || r.OK() || r.OutOfOrder+r.Duplicated != 0 {
		t.Errorf("one lost: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Insert(f, 2000, f[1000]) }); r.Duplicated != 1 || r.OK() || r.OutOfOrder+r.Lost != 0 {
		t.Errorf("one duplicated: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { f[7], f[8] = f[8], f[7]; return f }); r.OutOfOrder != 1 || r.OK() || r.Lost+r.Duplicated != 0 {
		t.Errorf("two swapped: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { f[9] = append(slices.Clone(f[9]), ' '); return f }); r.Altered != 1 || r.OK() || r.Lost != 0 {
		t.Errorf("one altered: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { f[9] = bytes.Replace(f[9], []byte("did:plc:"), []byte("did:plc:x"), 1); return f }); r.Foreign != 1 || r.Lost != 1 || r.OK() {
		t.Errorf("one of another account: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Insert(f, 5, []byte(`{"kind":"gap"}`)) }); r.Gaps != 1 || !r.OK() || r.Stored != 3000 {
		t.Errorf("one gap: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return f[:2900] }); r.Lost != 100 {
		t.Errorf("the end missing: %v", r)
	}
}

func TestFaultsEndConnections(t *testing.T) {
	for name, check := range map[string]func(error) bool{
		jetsim.FaultClose: func(err error) bool { return websocket.CloseStatus(err) == websocket.StatusGoingAway },
		jetsim.FaultEOF:   func(err error) bool { return websocket.CloseStatus(err) == -1 },
		jetsim.FaultReset: func(err error) bool { return websocket.CloseStatus(err) == -1 },
		jetsim.FaultCrash: func(err error) bool { return websocket.CloseStatus(err) == -1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, jetsim.Options{Backlog: 100})
			c := subscribe(t, s, "cursor=0")
			c.read(100)
			if err := s.Inject(jetsim.Fault{Name: name}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.rest(); !check(err) {
				t.Errorf("the client sees %v", err)
			}
		})
	}
}
