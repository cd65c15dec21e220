package archive

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/archive/jss"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// blockOf is a block of posts, decompressed.
func blockOf(tb testing.TB, n int) []byte {
	tb.Helper()
	mode, err := cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode()
	if err != nil {
		tb.Fatal(err)
	}
	rows := make([]jss.Row, n)
	for i := range rows {
		payload, err := mode.Marshal(map[string]any{"$type": "app.bsky.feed.post", "text": strings.Repeat("the quick brown fox ", i%13), "langs": []string{"en"}, "createdAt": "2026-11-28T12:00:00.000Z",
			"reply": map[string]any{"parent": map[string]any{"cid": strings.Repeat("b", 59), "uri": "at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3lqcnvhqk622d"}}})
		if err != nil {
			tb.Fatal(err)
		}
		rows[i] = jss.Row{Seq: uint64(i + 1), WitnessedUS: 1795000000000000 + int64(i), Kind: jss.Create, Collection: []byte("app.bsky.feed.post"),
			DID: fmt.Appendf(nil, "did:plc:%024d", i%100), Key: []byte("3lqcnvhqk622d"), Rev: []byte("3migo7fijwi2k"), Payload: payload}
	}
	return jss.AppendBlock(nil, rows)
}

// delivering is a delivery of blocks without a network.
func delivering(tb testing.TB, filter jetstream.Filter) (deliver func(raw []byte)) {
	tb.Helper()
	c, err := NewClient(Options{BaseURL: "http://archive.example", HTTP: &http.Client{}, Clock: clockwork.NewRealClock(), Rand: rand.New(rand.NewPCG(1, 2))})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := (&Sweep{Client: c, Filter: filter}).checked()
	if err != nil {
		tb.Fatal(err)
	}
	s.Deliver = func(_ context.Context, b *messages.Batch, _ Point) (*messages.Batch, error) { b.Reset(); return b, nil }
	d := newDelivery(s)
	u := &unit{name: jss.Name(0), min: 1, max: 1 << 40}
	ctx := tb.Context()
	return func(raw []byte) {
		b, err := jss.ParseBlock(raw)
		if err != nil {
			tb.Fatal(err)
		}
		d.point.Seq, d.point.Sealed, d.last = 0, 1<<40, 0
		if err := d.block(ctx, u, 0, &b); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestDeliveryAllocatesNothingPerEvent(t *testing.T) {
	raw := blockOf(t, 512)
	for name, filter := range map[string]jetstream.Filter{"everything": {}, "nothing": {Collections: []string{"app.bsky.feed.like"}}, "some": {DIDs: []string{"did:plc:000000000000000000000007"}}} {
		deliver := delivering(t, filter)
		deliver(raw)
		if n := testing.AllocsPerRun(5, func() { deliver(raw) }); n > 4 {
			t.Errorf("%s: %v allocations for 512 events", name, n)
		}
	}
}

// One core's way from a decompressed block to batches.
func BenchmarkDelivery(b *testing.B) {
	raw := blockOf(b, 4096)
	for name, filter := range map[string]jetstream.Filter{"everything": {}, "one of a hundred": {DIDs: []string{"did:plc:000000000000000000000007"}}} {
		b.Run(name, func(b *testing.B) {
			deliver := delivering(b, filter)
			deliver(raw)
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			n := 0
			for b.Loop() {
				deliver(raw)
				n += 4096
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
