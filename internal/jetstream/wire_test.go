package jetstream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// moody is a sink that has no free batch at random times.
type moody struct {
	collector
	rnd *rand.Rand
}

func (m *moody) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	if m.rnd.IntN(2) == 0 {
		return b, false
	}
	return m.collector.TryHand(b)
}

func (m *moody) Hand(b *messages.Batch) *messages.Batch {
	m.take(b)
	return &messages.Batch{}
}

// The events are the same however a server cuts its messages into fragments and its bytes into
// packets, and whatever it pings in between.
func TestI3_EventsSurviveAnyFragmentation(t *testing.T) {
	const n = 200
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var raw []byte
			for i := range n {
				text := eventJSON(i)
				for opcode := byte(1); ; opcode = 0 {
					size := len(text)
					if rnd.IntN(3) == 0 {
						size = rnd.IntN(len(text) + 1)
					}
					last := size == len(text) && rnd.IntN(4) > 0
					if last {
						opcode |= 0x80
					}
					raw = append(raw, opcode, 126)
					raw = append(binary.BigEndian.AppendUint16(raw, uint16(size)), text[:size]...)
					if rnd.IntN(5) == 0 {
						raw = append(raw, "\x89\x04ping"...)
					}
					if text = text[size:]; last {
						break
					}
				}
			}
			conn := pipe(t, func(c net.Conn) {
				for rest := raw; len(rest) > 0; {
					size := min(1+rnd.IntN(2000), len(rest))
					if _, err := c.Write(rest[:size]); err != nil {
						return
					}
					rest = rest[size:]
				}
			})
			sink := &moody{collector: collector{conn: conn}, rnd: rand.New(rand.NewPCG(seed, 1))}
			rest, _ := conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 1 + int(seed)*5, Bytes: 1 << 20})
			sink.take(rest)
			sink.expect(t, 0, n)
			if sink.frames != n || len(sink.bad) != 0 {
				t.Errorf("%d frames, bad: %q", sink.frames, sink.bad)
			}
		})
	}
}

// pipe makes a connection over a pipe. The server sends what send writes, and closes.
func pipe(t testing.TB, send func(net.Conn)) *jetstream.Conn {
	t.Helper()
	return pipeTo(t, jetstream.CompressOff, jetstream.DialOptions{MaxMessageSize: 4096}, send)
}

func pipeTo(t testing.TB, compress jetstream.Compression, opt jetstream.DialOptions, send func(net.Conn)) *jetstream.Conn {
	t.Helper()
	opt.DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			r := bufio.NewReader(server)
			if req, err := http.ReadRequest(r); err == nil {
				answer(server, req)
				drained := make(chan struct{})
				go func() { io.Copy(io.Discard, r); close(drained) }()
				send(server)
				server.Close()
				<-drained
			}
		}()
		return client, nil
	}
	return dial(t, jetstream.Request{Endpoint: endpoint(t, "ws://pipe"), Compress: compress}, opt)
}

func FuzzRun(f *testing.F) {
	good := rawText(eventJSON(1))
	for _, s := range []string{"", good, good + good, good + "\x88\x02\x03\xe9", good + "\x89\x04ping" + good, "\x01\x05{\"did\x80\x02\"}", good[:200],
		"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\x81\x7f\x00\x00\x00\x00\x7f\xff\xff\xff", "\x81\x84\x01\x02\x03\x04abcd", "\x82\x02{}", "\x88\x01x", "\x8a\x7e\x01\x00", "\x00\x00", "\xf1\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		conn := pipe(t, func(c net.Conn) { c.Write(raw) })
		sink := &collector{conn: conn}
		rest, err := conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 1 << 20, Bytes: 1 << 20, Delay: time.Hour})
		if end := jetstream.Classify(err); end.Cause == "" || end.Reason == "" || len(end.Reason) > 300 {
			t.Fatalf("the ending is %+v", end)
		}
		size := 0
		for i, e := range rest.Events {
			if !json.Valid(rest.Bytes(i)) || int(e.Off) != size {
				t.Fatalf("event %d at %d is %q", i, e.Off, rest.Bytes(i))
			}
			size += int(e.Len)
		}
		if size != len(rest.Buf) || rest.Frames != len(rest.Events)+rest.Bad+len(rest.Oversized) || len(sink.bad) != rest.Bad {
			t.Fatalf("%d bytes of events in %d, %d frames, %d bad, %d reported", size, len(rest.Buf), rest.Frames, rest.Bad, len(sink.bad))
		}
	})
}
