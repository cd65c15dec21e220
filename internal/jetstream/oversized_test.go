package jetstream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// large returns a frame whose record was made larger by n bytes.
func large(frame string, n int) string {
	return strings.Replace(frame, "2026-08-01T10:08:18Z", strings.Repeat(`\"{[x`, n/5)+`","seq":9,"time_us":9,"more":[{"did":"no"}],"x":"`, 1)
}

// TestAMessageThatIsTooLargeIsPassedOver is about servers that do not know or ignore
// maxMessageSizeBytes: they would send such an event again at every resume.
func TestAMessageThatIsTooLargeIsPassedOver(t *testing.T) {
	const size = 70_000
	v2 := func(n int) string { return witnessed(v2JSON(n), "2026-11-22T06:07:17.000000Z") }
	for _, c := range []struct {
		name     string
		protocol jetstream.Protocol
		compress jetstream.Compression
		raw      bool
		us       int64
	}{
		{"v1", jetstream.ProtocolV1, jetstream.CompressOff, false, 1795327636563035},
		{"v1/zstd", jetstream.ProtocolV1, jetstream.CompressZstd, false, 1795327636563035},
		{"v1/deflate", jetstream.ProtocolV1, jetstream.CompressDeflate, false, 1795327636563035},
		{"v2", jetstream.ProtocolV2, jetstream.CompressOff, false, 1795327637000000},
		{"v2/raw", jetstream.ProtocolV2, jetstream.CompressOff, true, 1795327637000000},
		{"v2/zstd", jetstream.ProtocolV2, jetstream.CompressZstd, false, 1795327637000000},
		{"v2/zstd/raw", jetstream.ProtocolV2, jetstream.CompressZstd, true, 1795327637000000},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := &upstream{t: t, v1: series(20, eventJSON), v2: series(20, v2), dict: newDictionary(t, v1DictionaryID)}
			sent := &up.v1
			if c.protocol == jetstream.ProtocolV2 {
				sent = &up.v2
			}
			(*sent)[4], (*sent)[19] = large((*sent)[4], size), large((*sent)[19], 10*size)
			req := up.serve()
			req.Protocol, req.Compress, req.Raw = c.protocol, c.compress, c.raw
			sink, err := read(t, req, jetstream.DialOptions{MaxMessageSize: 65536, V1Dictionary: up.dict})
			if !jetstream.Classify(err).Clean || len(sink.events) != 18 || len(sink.bad) != 0 || sink.frames != 20 || sink.seq != 20 || sink.conn.Wire().Fallback != "" {
				t.Fatalf("%v: %d events of %d frames, up to %d, bad: %q, %+v", err, len(sink.events), sink.frames, sink.seq, sink.bad, sink.conn.Wire())
			}
			like := scan(t, eventJSON(5))
			want := messages.OversizedEvent{After: 4, Size: int64(len((*sent)[4])), TimeUS: c.us, Seq: 5, Kind: messages.KindCommit, Fingerprint: like.Fingerprint,
				DID: "did:plc:333libf5czqkykcsyqbqtcvs", Rev: "3ke6kg3wxps22", Collection: "app.bsky.feed.like", RKey: "r5", Operation: "create"}
			if len(sink.oversized) != 2 || sink.oversized[0] != want || sink.oversized[1].After != 18 || sink.oversized[1].Seq != 20 {
				t.Fatalf("it says\n%+v, want\n%+v", sink.oversized, want)
			}
		})
	}
}

// A message that is too large is not kept in memory, and is not read in one piece.
func TestI5_AMessageThatIsTooLargeTakesNoMemory(t *testing.T) {
	frame := large(eventJSON(1), 8<<20)
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		ws.Write(ctx, websocket.MessageText, []byte(frame))
		write(ctx, t, ws, eventJSON(2))
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
	b := &messages.Batch{}
	rest, err := sink.conn.Run(b, sink, roomy)
	if !jetstream.Classify(err).Clean || len(rest.Events) != 1 || len(rest.Oversized) != 1 || rest.Oversized[0].Size != int64(len(frame)) {
		t.Fatalf("%v: %d events, %+v", err, len(rest.Events), rest.Oversized)
	}
	if cap(rest.Buf) > 256<<10 {
		t.Errorf("the batch holds %d bytes", cap(rest.Buf))
	}
}

func TestWhatIsNotWantedIsNotMissed(t *testing.T) {
	up := &upstream{t: t, v2: []string{v2JSON(1), large(v2JSON(2), 70_000), v2JSON(3)},
		refuse: func(w http.ResponseWriter, r *http.Request) bool {
			if long := r.URL.Query().Has("dids"); long {
				w.WriteHeader(http.StatusRequestURITooLong)
				return true
			}
			return false
		}}
	req := up.serve()
	req.Protocol = jetstream.ProtocolV2
	req.Filter.DIDs = []string{"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}
	sink, err := read(t, req, jetstream.DialOptions{MaxMessageSize: 65536})
	if !sink.conn.Wire().Local || !jetstream.Classify(err).Clean || len(sink.events) != 0 || len(sink.oversized) != 0 || sink.frames != 3 || sink.seq != 3 {
		t.Errorf("%v: %d events, %d frames, up to %d, skipped %+v", err, len(sink.events), sink.frames, sink.seq, sink.oversized)
	}
}

func TestI7_WhatIsTooLargeAndNoEventIsBad(t *testing.T) {
	big := strings.Repeat("x", 70_000)
	frames := []string{big, `{"did":"` + big, `{"did":"a","x":"` + big + `"}`, `[["` + big + `"]]`, `{"x":{"y":{"z":` + big + `}}}`, strings.Repeat("}", 70_000), strings.Repeat(`{"a":`, 20_000)}
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i, frame := range frames {
			ws.Write(ctx, websocket.MessageText, []byte(frame))
			write(ctx, t, ws, eventJSON(i))
		}
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
	err := sink.run(roomy)
	sink.expect(t, 0, len(frames))
	if !jetstream.Classify(err).Clean || len(sink.oversized) != 0 || len(sink.bad) != len(frames) {
		t.Errorf("%v; skipped %+v, bad %q", err, sink.oversized, sink.bad)
	}
}

// If it is unknown which event a message was, the event is missing all the same.
func TestI4_WhatIsTooLargeAndNotKnownIsMissing(t *testing.T) {
	names := make([]string, 9000)
	for i := range names {
		names[i] = fmt.Sprintf(`"name%d":1`, i)
	}
	wide := `{"did":"a","time_us":1,"kind":"x",` + strings.Join(names, ",") + `}`
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		ws.Write(ctx, websocket.MessageText, []byte(wide))
		write(ctx, t, ws, eventJSON(1))
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
	err := sink.run(roomy)
	want := messages.OversizedEvent{Size: int64(len(wide))}
	if !jetstream.Classify(err).Clean || !slices.Equal(sink.oversized, []messages.OversizedEvent{want}) || len(sink.firsts) != 1 || sink.firsts[0].Seq != 1 {
		t.Errorf("%v; skipped %+v, first %+v", err, sink.oversized, sink.firsts)
	}
}

// Oversized events count for the size of a batch.
func TestI5_SkippedEventsAreBoundedAsEventsAre(t *testing.T) {
	const n = 12
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i := range n {
			ws.Write(ctx, websocket.MessageText, []byte(large(eventJSON(i+1), 70_000)))
		}
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
	_ = sink.run(jetstream.Limits{Events: 4, Bytes: 1 << 20, Delay: time.Hour})
	if len(sink.oversized) != n || len(sink.sizes) != 4 {
		t.Errorf("%d skipped, in batches of %v", len(sink.oversized), sink.sizes)
	}
}

// A header that announces too much ends the connection at once; the payload may never come.
func TestAFrameThatAnnouncesTooMuchEndsTheConnectionAtOnce(t *testing.T) {
	for _, header := range []string{"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "\x81\x7f\x00\x00\x00\x00\x04\x00\x00\x01", "\x01\x05{\"did\x80\x7f\x10\x00\x00\x00\x04\x00\x00\x01"} {
		hold := make(chan struct{})
		req := serveRaw(t, func(c net.Conn) {
			all := rawText(eventJSON(0)) + rawText(eventJSON(1)) + header
			for _, piece := range []string{all[:500], all[500 : len(all)-3], all[len(all)-3:]} {
				io.WriteString(c, piece)
			}
			<-hold
		})
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
		if end := jetstream.Classify(sink.run(roomy)); end.Cause != jetstream.CauseTooBig {
			t.Errorf("%q: the ending is %+v", header, end)
		}
		sink.expect(t, 0, 2)
		close(hold)
	}
	// A message within the bound is read and discarded.
	frame := "\x81\x7f\x00\x00\x00\x00\x00\x02\x00\x00" + strings.Repeat(" ", 131072)
	req := serveRaw(t, func(c net.Conn) {
		io.Copy(c, bytes.NewReader([]byte(rawText(eventJSON(0))+frame+rawText(eventJSON(1)))))
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 65536})}
	if end := jetstream.Classify(sink.run(roomy)); end.Cause != jetstream.CauseEOF {
		t.Errorf("the ending is %+v", end)
	}
	sink.expect(t, 0, 2)
}
