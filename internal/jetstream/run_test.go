package jetstream_test

import (
	"context"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

func TestRunReadsToTheEnd(t *testing.T) {
	const n = 1000
	var want []string
	req := serve(t, func(ctx context.Context, ws *websocket.Conn) {
		for i := range n {
			write(ctx, t, ws, eventJSON(i))
		}
		ws.Close(websocket.StatusGoingAway, "server shutting down")
	})
	for i := range n {
		want = append(want, eventJSON(i))
	}
	conn := dial(t, req, jetstream.DialOptions{})
	sink := &collector{done: conn.Done}
	rest, err := conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 64, Bytes: 1 << 20})
	sink.take(rest)
	if len(sink.events) != n {
		t.Fatalf("got %d events, want %d", len(sink.events), n)
	}
	for i := range n {
		if sink.events[i] != want[i] {
			t.Fatalf("event %d is %s, want %s", i, sink.events[i], want[i])
		}
	}
	end := jetstream.Classify(err)
	if !end.Clean || end.Code != 1001 || end.Cause != jetstream.CauseServerClose {
		t.Errorf("ending is %+v", end)
	}
}
