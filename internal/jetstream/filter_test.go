package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

func TestValidateFilter(t *testing.T) {
	const v1, v2, auto = jetstream.ProtocolV1, jetstream.ProtocolV2, jetstream.ProtocolAuto
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		filter   jetstream.Filter
		protocol jetstream.Protocol
		want     []string
	}{
		{jetstream.Filter{}, auto, nil},
		{jetstream.Filter{Collections: []string{"app.bsky.feed.post", "app.bsky.*", "app.bsky.feed.*", "fm.teal.alpha-1.actor.Status2", "a.b.c"},
			DIDs: []string{"did:plc:abc", "did:web:example.com%3A80:u", "did:x:_"}, Kinds: []string{"commit", "identity", "account", "sync"}}, auto, nil},
		{jetstream.Filter{Collections: []string{"app.bsky.fo*", "*", "", "a.b.c,d.e.f", "app.bsky", "1a.b.c", "a.b.1c", "a.b.c-d", "a.-b.c", "a.b-.c", "a..c", "a.b.c.", "é.b.c", long + ".b.c"}}, auto,
			[]string{"invalid collection: app.bsky.fo*", "invalid collection: *", "invalid collection: ", "invalid collection: a.b.c,d.e.f", "invalid collection: app.bsky",
				"invalid collection: 1a.b.c", "invalid collection: a.b.1c", "invalid collection: a.b.c-d", "invalid collection: a.-b.c", "invalid collection: a.b-.c",
				"invalid collection: a..c", "invalid collection: a.b.c.", "invalid collection: é.b.c", "invalid collection: " + long + ".b.c"}},
		{jetstream.Filter{Collections: []string{"app.*", "not_an_nsid.*", ".*"}}, v1, nil},
		{jetstream.Filter{Collections: []string{"app.*", "not_an_nsid.*", ".*"}}, v2, []string{"invalid collection wildcard: app.*", "invalid collection wildcard: not_an_nsid.*", "invalid collection wildcard: .*"}},
		{jetstream.Filter{Collections: []string{"app.*"}}, auto, []string{"invalid collection wildcard: app.*"}},
		{jetstream.Filter{DIDs: []string{"", "did", "did:", "did:plc", "did:plc:", "did:PLC:a", "did:plc:a:", "did:plc:a%", "did:plc:a b", "did:pl1:a", "DID:plc:a", "did:plc:é"}}, v1,
			[]string{"invalid DID: ", "invalid DID: did", "invalid DID: did:", "invalid DID: did:plc", "invalid DID: did:plc:", "invalid DID: did:PLC:a", "invalid DID: did:plc:a:",
				"invalid DID: did:plc:a%", "invalid DID: did:plc:a b", "invalid DID: did:pl1:a", "invalid DID: DID:plc:a", "invalid DID: did:plc:é"}},
		{jetstream.Filter{Kinds: []string{"bogus", "", "commit,identity", "Commit", "info"}}, v2, []string{`unknown kind "bogus" (valid: commit, identity, account, sync)`,
			`unknown kind "" (valid: commit, identity, account, sync)`, `unknown kind "commit,identity" (valid: commit, identity, account, sync)`,
			`unknown kind "Commit" (valid: commit, identity, account, sync)`, `unknown kind "info" (valid: commit, identity, account, sync)`}},
		{jetstream.Filter{Collections: []string{"a.b.c"}, Kinds: []string{"identity"}}, auto, []string{"collections filter can never apply: kinds excludes commit"}},
	} {
		var got []string
		for _, err := range jetstream.ValidateFilter(c.filter, c.protocol) {
			if _, ok := errors.AsType[*jetstream.FilterError](err); !ok {
				t.Errorf("%T is no *FilterError", err)
			}
			got = append(got, err.Error())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v with %s gives\n%q, want\n%q", c.filter, c.protocol, got, c.want)
		}
	}
}

// stories returns one event of each kind, for several accounts and collections, in v1's shape.
func stories() []string {
	var frames []string
	us := 1795327636563030
	for _, did := range []string{"did:plc:a", "did:plc:b", "did:web:c"} {
		for _, collection := range []string{"app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feedx.y", "app.bsky.graph.follow", "fm.teal.alpha.play"} {
			us++
			frames = append(frames, fmt.Sprintf(`{"did":"%s","time_us":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"%s","rkey":"k"}}`, did, us, us, collection))
		}
		for _, kind := range []string{"identity", "account", "sync", "label"} {
			us++
			frames = append(frames, fmt.Sprintf(`{"did":"%s","time_us":%d,"kind":"%s","%s":{"seq":%d,"rev":"r"}}`, did, us, kind, kind, us))
		}
	}
	return frames
}

// wanted returns the frames that the filter wants.
func wanted(frames []string, f jetstream.Filter) []string {
	var kept []string
	for _, frame := range frames {
		var e struct {
			DID, Kind string
			Commit    struct{ Collection string }
		}
		if json.Unmarshal([]byte(frame), &e) != nil {
			continue
		}
		match := func(pattern string) bool {
			prefix, wildcard := strings.CutSuffix(pattern, "*")
			return pattern == e.Commit.Collection || wildcard && strings.HasPrefix(e.Commit.Collection, prefix)
		}
		if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind) || len(f.DIDs) > 0 && !slices.Contains(f.DIDs, e.DID) ||
			len(f.Collections) > 0 && e.Kind == "commit" && !slices.ContainsFunc(f.Collections, match) {
			continue
		}
		kept = append(kept, frame)
	}
	return kept
}

// padded makes a list longer than servers accept, with values that nothing matches.
func padded(list []string, n int, format string) []string {
	list = slices.Clone(list)
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}

func TestWhatServersCannotFilterIsFilteredHere(t *testing.T) {
	up := &upstream{t: t, v1: stories()}
	req := up.serve()
	rapid.Check(t, func(r *rapid.T) {
		subset := func(name string, all ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), rapid.ID).Draw(r, name)
		}
		f := jetstream.Filter{
			Kinds:       subset("kinds", "commit", "identity", "account", "sync"),
			Collections: subset("collections", "app.bsky.feed.post", "app.bsky.feed.*", "app.bsky.*", "fm.teal.alpha.play", "app.bsky.graph.*"),
			DIDs:        subset("dids", "did:plc:a", "did:web:c"),
		}
		if len(f.Collections) > 0 {
			f.Collections = padded(f.Collections, 101, "x.y.z%d")
		}
		if len(f.DIDs) > 0 {
			f.DIDs = padded(f.DIDs, 10_001, "did:plc:x%d")
		}
		req := req
		req.Filter = f
		sink, _ := read(t, req, jetstream.DialOptions{})
		if want := wanted(up.v1, f); !slices.Equal(sink.events, want) {
			r.Fatalf("got %d events, want %d", len(sink.events), len(want))
		}
		if sink.conn.Wire().Local == f.IsZero() || strings.Contains(up.last(), "wanted") {
			r.Fatalf("%+v after %s", sink.conn.Wire(), up.last())
		}
		// Every frame counts, wanted or not, and moves the position.
		a := sink.conn.Activity()
		if sink.frames != len(up.v1) || int(a.Frames) != len(up.v1) || len(sink.bad) > 0 {
			r.Fatalf("%d frames; the activity is %+v", sink.frames, a)
		}
	})
}

func TestI4_UnwantedFramesMoveThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan int)
		req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) {
			for i := range more {
				write(ctx, t, ws, eventJSON(i))
			}
		})
		req.Filter.Kinds = []string{"identity"}
		conn := dial(t, req, opt)
		batches := make(chan messages.Batch)
		go conn.Run(&messages.Batch{}, &forwarder{batches: batches}, jetstream.Limits{Events: 10, Bytes: 1 << 20, Delay: 50 * time.Millisecond})
		for _, i := range []int{8, 9, 7} {
			more <- i
		}
		start := time.Now()
		b := <-batches
		if b.Frames != 3 || len(b.Events) != 0 || b.Seq != 7 || b.TimeUS != 1795327636563037 || time.Since(start) != 50*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(start), b)
		}
		if a := conn.Activity(); a.Frames != 3 || a.NewestUS != 1795327636563039 {
			t.Errorf("the activity is %+v", a)
		}
		conn.CloseNow()
		close(more)
	})
}

// forwarder is a sink that sends a copy of each batch to the test.
type forwarder struct{ batches chan<- messages.Batch }

func (f *forwarder) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	f.batches <- *b
	b.Reset()
	return b, true
}
func (f *forwarder) Hand(b *messages.Batch) *messages.Batch { return nil }
func (f *forwarder) Bad([]byte, error)                      {}
func (f *forwarder) First(messages.Event)                   {}
func (f *forwarder) Info(string, string)                    {}

// hello is an options_update as a server reads it.
type hello struct {
	Type    string
	Payload struct {
		WantedCollections, WantedDIDs []string
		MaxMessageSizeBytes           int
	}
}

func TestAFilterThatIsTooLongForAURLIsSaidInTheFirstMessage(t *testing.T) {
	var said hello
	up := &upstream{t: t, v1: series(3, eventJSON), hold: func(message string) {
		if err := json.Unmarshal([]byte(message), &said); err != nil {
			t.Error(err)
		}
	}}
	req := up.serve()
	req.Filter = jetstream.Filter{Collections: []string{"app.bsky.feed.like"}, DIDs: padded([]string{"did:plc:333libf5czqkykcsyqbqtcvs"}, 5000, "did:plc:x%d")}
	req.Cursor = jetstream.TimeCursor(1795327636563030)
	sink, _ := read(t, req, jetstream.DialOptions{MaxMessageSize: 4096})
	sink.expect(t, 1, 4)
	if want := v1Path + "?maxMessageSizeBytes=4096&cursor=1795327636563030&requireHello=true"; up.last() != want {
		t.Errorf("asked for %s, want %s", up.last(), want)
	}
	if said.Type != "options_update" || !slices.Equal(said.Payload.WantedCollections, req.Filter.Collections) || !slices.Equal(said.Payload.WantedDIDs, req.Filter.DIDs) ||
		said.Payload.MaxMessageSizeBytes != 4096 {
		t.Errorf("said %+v", said)
	}
}

func TestLongURLsThatAreRefusedAreGivenUp(t *testing.T) {
	up := &upstream{t: t, v2: series(3, v2JSON)}
	up.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if len(r.RequestURI) > 8192 {
			w.WriteHeader(http.StatusRequestURITooLong)
		}
		return len(r.RequestURI) > 8192
	}
	req := up.serve()
	req.Protocol = jetstream.ProtocolV2
	req.Filter = jetstream.Filter{Kinds: []string{"commit"}, DIDs: padded([]string{"did:plc:333libf5czqkykcsyqbqtcvs"}, 5000, "did:plc:x%d")}
	opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())}
	for range 2 {
		sink, _ := read(t, req, opt)
		sink.expect(t, 1, 4)
		if wire := sink.conn.Wire(); !wire.Local || !strings.Contains(wire.Fallback, "414") || !strings.HasSuffix(up.last(), "kinds=commit") {
			t.Errorf("the wire is %+v after %s", wire, up.last())
		}
	}
	if n := len(up.paths()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestUpdateFilter(t *testing.T) {
	frames := stories()
	updates := make(chan hello)
	next := make(chan struct{})
	up := &upstream{t: t, v1: frames[:9], after: func(ctx context.Context, ws *websocket.Conn) {
		_, data, err := ws.Read(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		var said hello
		if err := json.Unmarshal(data, &said); err != nil {
			t.Error(err)
		}
		updates <- said
		<-next
		for _, f := range frames[9:] { // sent before the server applies the update
			write(ctx, t, ws, f)
		}
	}}
	req := up.serve()
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{}), taken: make(chan int, 100)}
	ended := make(chan error, 1)
	go func() { ended <- sink.run(jetstream.Limits{Events: 1, Bytes: 1}) }()
	for range 9 {
		<-sink.taken
	}
	for _, bad := range []jetstream.Filter{{DIDs: []string{"x"}}, {Collections: []string{"x"}}, {Kinds: []string{"x"}}} {
		if err := sink.conn.UpdateFilter(t.Context(), bad); !errors.Is(err, jetstream.ErrBadRequest) {
			t.Errorf("%v gives %v", bad, err)
		}
	}
	f := jetstream.Filter{Collections: []string{"app.bsky.feed.*"}, DIDs: []string{"did:plc:b"}, Kinds: []string{"commit", "account"}}
	if err := sink.conn.UpdateFilter(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	said := <-updates
	if !slices.Equal(said.Payload.WantedCollections, f.Collections) || !slices.Equal(said.Payload.WantedDIDs, f.DIDs) || said.Payload.MaxMessageSizeBytes != jetstream.DefaultMaxMessageSize {
		t.Errorf("said %+v", said)
	}
	close(next)
	<-ended
	if want := append(frames[:9:9], wanted(frames[9:], f)...); !slices.Equal(sink.events, want) {
		t.Errorf("got %q, want %q", sink.events, want)
	}
	if err := sink.conn.UpdateFilter(t.Context(), jetstream.Filter{}); err == nil {
		t.Error("a connection that has ended was updated")
	}
}

func TestUpdateFilterNeedsAnotherConnectionOnV2(t *testing.T) {
	up := &upstream{t: t, v2: series(1, v2JSON)}
	req := up.serve()
	req.Protocol = jetstream.ProtocolV2
	conn := dial(t, req, jetstream.DialOptions{})
	if err := conn.UpdateFilter(t.Context(), jetstream.Filter{}); !errors.Is(err, jetstream.ErrNeedsReconnect) {
		t.Errorf("got %v", err)
	}
}
