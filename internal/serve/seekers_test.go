package serve_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"tempestd/persistence"
)

// stuckReads is a stream whose reads, but for those of tails, wait until they may go on.
type stuckReads struct {
	persistence.Stream
	reading chan struct{}
	goOn    chan struct{}
}

func (s stuckReads) Read(ctx context.Context, from, to persistence.StreamCursor, limit int) (persistence.Page, error) {
	s.reading <- struct{}{}
	select {
	case <-s.goOn:
	case <-ctx.Done():
		return persistence.Page{}, ctx.Err()
	}
	return s.Stream.Read(ctx, from, to, limit)
}

// Searches of one address follow each other. They hold up neither a subscriber that begins at the
// tip nor the search of another address.
func TestI8_SeekersHoldUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		all := run(firstUS, 1, 10)
		store(t, stream, events(all)...)
		s := stuckReads{stream, make(chan struct{}, 100), make(chan struct{})}
		d, l := startClients(t, s)
		subscribe := func(path string) *subscriber {
			sub, err := d.tryDial(path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: l.dial}}})
			if err != nil {
				t.Error(err)
			}
			return sub
		}
		const path = "/v1/streams/bluesky/subscribe"
		found := make(chan *subscriber, 41)
		for range 40 {
			go func() { found <- subscribe(path + "?cursor=5") }()
			synctest.Wait()
		}
		if n := len(s.reading); n != 1 {
			t.Errorf("%d searches of one address run at one time", n)
		}
		began := time.Now()
		tip := subscribe(path)
		l.addr = net.IPv4(192, 0, 2, 11)
		go func() { found <- subscribe(path + "?cursor=5") }()
		synctest.Wait()
		if n := len(s.reading); n != 2 {
			t.Errorf("%d searches run, want one of each address", n)
		}
		store(t, stream, event(firstUS+1_000_000, 11))
		tip.read(1)
		if took := time.Since(began); took > 0 {
			t.Errorf("a subscriber at the tip waited %v beside 40 searches", took)
		}
		close(s.goOn)
		for range 41 {
			sub := <-found
			sub.read(7)
			_ = sub.CloseNow()
		}
		_ = tip.CloseNow()
	})
}
