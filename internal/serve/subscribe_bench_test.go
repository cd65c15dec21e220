package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// BenchmarkSubscribe replays a stream with events of some 500 bytes to websocket readers on
// loopback, all at the same time. The readers discard the frames.
func BenchmarkSubscribe(b *testing.B) {
	v1, _ := simulated()
	storage := openStore(b)
	stream := openStream(b, storage, "bluesky")
	const rounds = 20
	for range rounds {
		store(b, stream, v1...)
	}
	d := start(b, storage)
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	for _, c := range []struct {
		name, path string
		readers    int
	}{{"v1/1", "/subscribe?cursor=0", 1}, {"v2/1", pathV2 + "?cursor=0", 1}, {"zstd-stored/1", "/subscribe?cursor=0&compress=true", 1}, {"v1/100", "/subscribe?cursor=0", 100}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var readers sync.WaitGroup
				for range c.readers {
					readers.Go(func() {
						if err := replay(d.addr, c.path, transport, rounds*len(v1)); err != nil {
							b.Error(err)
						}
					})
				}
				readers.Wait()
			}
			b.ReportMetric(float64(b.N*c.readers*rounds*len(v1))/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// replay reads n messages.
func replay(addr, path string, transport *http.Transport, n int) error {
	conn, _, err := websocket.Dial(context.Background(), "ws://"+addr+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	for i := range n {
		_, r, err := conn.Reader(context.Background())
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return fmt.Errorf("after %d of %d messages: %w", i, n, err)
		}
	}
	return nil
}
