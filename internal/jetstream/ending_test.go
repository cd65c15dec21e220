package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

func TestEndings(t *testing.T) {
	closing := func(code websocket.StatusCode, reason string) func(net.Conn) {
		return func(c net.Conn) {
			fmt.Fprint(c, rawText(eventJSON(0)))
			c.Write(append([]byte{0x88, byte(2 + len(reason)), byte(code >> 8), byte(code)}, reason...))
			io.Copy(io.Discard, c) // until the answer is read
		}
	}
	sending := func(parts ...string) func(net.Conn) {
		return func(c net.Conn) { fmt.Fprint(c, rawText(eventJSON(0))+strings.Join(parts, "")) }
	}
	event := rawText(eventJSON(1))
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  jetstream.Ending
	}{
		"going away":     {closing(1001, "server shutting down"), jetstream.Ending{Cause: jetstream.CauseServerClose, Code: 1001, Clean: true, Reason: "closed by the server with code 1001: server shutting down"}},
		"normal":         {closing(1000, ""), jetstream.Ending{Cause: jetstream.CauseServerClose, Code: 1000, Clean: true, Reason: "closed by the server with code 1000"}},
		"internal error": {closing(1011, "oh\nno\x1b[2J"), jetstream.Ending{Cause: jetstream.CauseServerClose, Code: 1011, Reason: "closed by the server with code 1011: oh no [2J"}},
		"close without a code": {func(c net.Conn) {
			fmt.Fprint(c, rawText(eventJSON(0))+"\x88\x00")
			io.Copy(io.Discard, c)
		}, jetstream.Ending{Cause: jetstream.CauseServerClose, Code: 1005, Reason: "closed by the server with code 1005"}},
		"EOF":                       {sending(), jetstream.Ending{Cause: jetstream.CauseEOF, Reason: "the stream ended without a close frame"}},
		"EOF in a header":           {sending(event[:1]), jetstream.Ending{Cause: jetstream.CauseEOF, Reason: "the stream ended without a close frame"}},
		"EOF in a length":           {sending(event[:3]), jetstream.Ending{Cause: jetstream.CauseEOF, Reason: "the stream ended without a close frame"}},
		"EOF before a payload":      {sending(event[:4]), jetstream.Ending{Cause: jetstream.CauseMidFrame, Reason: "the stream ended within a message"}},
		"EOF in a payload":          {sending(event[:200]), jetstream.Ending{Cause: jetstream.CauseMidFrame, Reason: "the stream ended within a message"}},
		"EOF between two fragments": {sending("\x01\x05{\"did"), jetstream.Ending{Cause: jetstream.CauseMidFrame, Reason: "the stream ended within a message"}},
		"too big, never ending":     {sending("\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("x", 9000)), jetstream.Ending{Cause: jetstream.CauseTooBig, Reason: "a message is larger than 67108864 bytes, the most that is passed over"}},
		"too big, in the end":       {sending("\x01\x7f\x00\x00\x00\x00\x02\x00\x00\x00", strings.Repeat("x", 1<<25), "\x80\x7f\x00\x00\x00\x00\x02\x00\x00\x01", strings.Repeat("x", 1<<25+1)), jetstream.Ending{Cause: jetstream.CauseTooBig, Reason: "a message is larger than 67108864 bytes, the most that is passed over"}},
		"a length without a sign":   {sending("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), jetstream.Ending{Cause: jetstream.CauseProtocol, Reason: "failed to get reader: failed to read frame header: received negative payload length: -1"}},
		"an unknown opcode":         {sending("\x83\x00"), jetstream.Ending{Cause: jetstream.CauseProtocol, Reason: "failed to get reader: received unknown opcode opcode(3)"}},
		"a bit that is reserved":    {sending("\xc1\x00"), jetstream.Ending{Cause: jetstream.CauseProtocol, Reason: "failed to get reader: received header with unexpected rsv bits set: true:false:false"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := serveRaw(t, func(conn net.Conn) { c.serve(conn) })
			sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: 4096})}
			err := sink.run(roomy)
			if got := jetstream.Classify(fmt.Errorf("wrapped: %w", err)); got != c.want {
				t.Errorf("the ending is\n%+v, want\n%+v (%v)", got, c.want, errors.Unwrap(err))
			}
			sink.expect(t, 0, 1)
			if len(sink.bad) != 0 || sink.frames != 1 {
				t.Errorf("%d frames, reported as bad: %q", sink.frames, sink.bad)
			}
		})
	}
	t.Run("reset", func(t *testing.T) {
		read := make(chan struct{})
		req := serveRaw(t, func(c net.Conn) {
			fmt.Fprint(c, rawText(eventJSON(0)))
			<-read
			c.(*net.TCPConn).SetLinger(0)
		})
		sink := &collector{conn: dial(t, req, jetstream.DialOptions{}), taken: make(chan int)}
		go func(taken chan int) { <-taken; close(read) }(sink.taken)
		if end := jetstream.Classify(sink.run(jetstream.Limits{Events: 1, Bytes: 1})); end.Cause != jetstream.CauseReset {
			t.Errorf("the ending is %+v", end)
		}
	})
}

func TestAMessageOfExactlyTheLimitIsRead(t *testing.T) {
	text := eventJSON(0)
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		write(ctx, t, ws, text)
		ws.Close(websocket.StatusGoingAway, "")
	})
	sink := &collector{conn: dial(t, req, jetstream.DialOptions{MaxMessageSize: int64(len(text))})}
	if err := sink.run(roomy); !jetstream.Classify(err).Clean {
		t.Error(err)
	}
	sink.expect(t, 0, 1)
}

func TestRunReturnsABatchWithoutHalfAFrame(t *testing.T) {
	req := serveRaw(t, func(c net.Conn) { fmt.Fprint(c, rawText(eventJSON(0))+rawText(eventJSON(1))[:300]) })
	conn := dial(t, req, jetstream.DialOptions{})
	rest, _ := conn.Run(&messages.Batch{}, &collector{conn: conn}, roomy)
	if string(rest.Buf) != eventJSON(0) {
		t.Errorf("the batch holds %q", rest.Buf)
	}
}
