package jetstream_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
)

func TestInfoIsToldAndIsNoEvent(t *testing.T) {
	info := `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"requested timestamp cursor below retention floor; starting at seq 1","name":"OutdatedCursor"}}`
	odd := `{"$type":"message","payload":{"$type":"#info","name":"not a name","message":"two\nlines ` + strings.Repeat("x", 500) + `"}}`
	up := &upstream{t: t, v2: append([]string{info}, append(series(3, v2JSON), odd)...)}
	req := up.serve()
	req.Protocol = jetstream.ProtocolV2
	sink, err := read(t, req, jetstream.DialOptions{})
	sink.expect(t, 1, 4)
	if !jetstream.Classify(err).Clean || len(sink.bad) > 0 || sink.frames != 5 || len(sink.said) != 2 {
		t.Fatalf("%v; %d frames, bad: %q, said: %q", err, sink.frames, sink.bad, sink.said)
	}
	if want := atproto.OutdatedCursor + ": requested timestamp cursor below retention floor; starting at seq 1"; sink.said[0] != want {
		t.Errorf("said %q, want %q", sink.said[0], want)
	}
	if !strings.HasPrefix(sink.said[1], ": not a name two lines xxx") || len(sink.said[1]) > 210 {
		t.Errorf("said %q", sink.said[1])
	}
}

func TestAnErrorFrameIsTheEnding(t *testing.T) {
	for frame, want := range map[string]jetstream.Ending{
		`{"$type":"error","error":"ConsumerTooSlow","message":"you\nare"}`: {Cause: jetstream.CauseUpstream, Name: "ConsumerTooSlow", Reason: "the upstream said ConsumerTooSlow: you are"},
		`{"$type":"error","error":"FutureCursor"}`:                         {Cause: jetstream.CauseUpstream, Name: "FutureCursor", Reason: "the upstream said FutureCursor"},
		`{"$type":"error","error":5,"message":"m"}`:                        {Cause: jetstream.CauseUpstream, Reason: "the upstream said m"},
	} {
		for _, dict := range [][]byte{nil, newDictionary(t, 7)} {
			up := &upstream{t: t, v2: append(series(3, v2JSON), frame, v2JSON(4)), dict: dict}
			req := up.serve()
			req.Protocol = jetstream.ProtocolV2
			if dict != nil {
				req.Compress = jetstream.CompressZstd
			}
			sink, err := read(t, req, jetstream.DialOptions{})
			sink.expect(t, 1, 4)
			if got := jetstream.Classify(err); got != want || sink.frames != 4 || sink.conn.Wire().Fallback != "" {
				t.Errorf("the ending is\n%+v, want\n%+v; %d frames, %+v", got, want, sink.frames, sink.conn.Wire())
			}
		}
	}
}

func TestControlFramesAreBadFramesOnV1(t *testing.T) {
	up := &upstream{t: t, v1: []string{`{"$type":"error","error":"E"}`, eventJSON(1), `{"$type":"message","payload":{"$type":"#info","name":"N"}}`}}
	sink, err := read(t, up.serve(), jetstream.DialOptions{})
	sink.expect(t, 1, 2)
	if !jetstream.Classify(err).Clean || len(sink.bad) != 2 || len(sink.said) > 0 {
		t.Errorf("%v; bad: %q, said: %q", err, sink.bad, sink.said)
	}
}

// Frames of the other protocol are understood, whichever protocol was asked for.
func TestFramesOfTheOtherProtocolAreUnderstood(t *testing.T) {
	up := &upstream{t: t, v1: []string{v2JSON(1), eventJSON(2)}, v2: []string{eventJSON(1), v2JSON(2)}}
	req := up.serve()
	sink, _ := read(t, req, jetstream.DialOptions{})
	if !slices.Equal(sink.events, up.v1) {
		t.Errorf("got %q", sink.events)
	}
	req.Protocol = jetstream.ProtocolV2
	sink, _ = read(t, req, jetstream.DialOptions{})
	sink.expect(t, 1, 3)
}

func TestADictionaryThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req, opt := serveVirtual(t, func(ctx context.Context, ws *websocket.Conn) { write(ctx, t, ws, v2JSON(1)) })
		reach := opt.DialContext
		var dials atomic.Int32
		opt.DialContext = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			if dials.Add(1) == 1 {
				<-ctx.Done() // a host that does not answer
				return nil, ctx.Err()
			}
			return reach(ctx, network, addr)
		}
		opt.Negotiator = jetstream.NewNegotiator("", clockwork.NewRealClock())
		req.Protocol, req.Compress = jetstream.ProtocolV2, jetstream.CompressZstd
		start := time.Now()
		sink, _ := read(t, req, opt)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		sink.expect(t, 1, 2)
		if wire := sink.conn.Wire(); !strings.HasPrefix(wire.Fallback, "not compressed: no dictionary: ") {
			t.Errorf("the wire is %+v", wire)
		}
	})
}

// FuzzCursor checks that a cursor is sent as the kind of number that it is, and only to the host
// that it belongs to.
func FuzzCursor(f *testing.F) {
	f.Add(int64(0), true, true)
	f.Add(int64(4711), true, true)
	f.Add(int64(4711), true, false)
	f.Add(int64(999_999_999_999_999), true, true)
	f.Add(int64(1_000_000_000_000_000), true, true)
	f.Add(int64(1795327636563030), false, true)
	f.Add(int64(-5), false, true)
	f.Fuzz(func(t *testing.T, n int64, bySeq, same bool) {
		up := &upstream{t: t, v1: []string{}, v2: []string{}}
		req := up.serve()
		host := req.Endpoint.Host()
		if !same {
			host = "elsewhere:443"
		}
		req.Cursor = jetstream.TimeCursor(n)
		if bySeq {
			req.Cursor = jetstream.SequenceCursor(host, n)
		}
		sequence := bySeq && n > 0 && n < 1_000_000_000_000_000
		for _, p := range []jetstream.Protocol{jetstream.ProtocolV1, jetstream.ProtocolV2} {
			req.Protocol = p
			err := tryDial(t, req, jetstream.DialOptions{})
			if foreign := sequence && !same; (err != nil) != foreign {
				t.Fatalf("%s to %s gives %v", req.Cursor, req.Endpoint, err)
			} else if foreign {
				continue
			}
			_, query, _ := strings.Cut(up.last(), "?")
			sent := ""
			for _, part := range strings.Split(query, "&") {
				if value, ok := strings.CutPrefix(part, "cursor="); ok {
					sent += value
				}
			}
			short := len(sent) < 16
			if sequence != (sent != "" && short) || !bySeq && short || bySeq && !sequence && sent != "" {
				t.Fatalf("%s is sent as %q", req.Cursor, sent)
			}
		}
	})
}
