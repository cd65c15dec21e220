package serve_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"tempestd/persistence"
)

// padded returns an event that is longer by that many bytes.
func padded(us, seq int64, bytes int) string {
	return strings.Replace(event(us, seq), `"identity":{`, `"identity":{"filler":"`+strings.Repeat("x", bytes)+`",`, 1)
}

// virtualSubscribers returns a server of the stream in a bubble of virtual time, and a function
// that subscribes to it. The connections buffer up to buffer bytes that a subscriber has not read,
// as sockets do. With 0, every write waits for its reader.
func virtualSubscribers(t *testing.T, stream persistence.Stream, buffer int) (*daemon, func(path string) *subscriber) {
	d, p := startVirtual(t, stream)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := p.dial(ctx, network, addr)
		if err == nil && buffer > 0 {
			conn = newBuffered(conn, buffer)
		}
		return conn, err
	}
	return d, func(path string) *subscriber {
		s, err := d.tryDial(path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// buffered is a connection that takes bytes before they are read.
type buffered struct {
	net.Conn
	held chan []byte
	rest []byte
}

func newBuffered(conn net.Conn, bytes int) *buffered {
	const piece = 1 << 10
	b := &buffered{Conn: conn, held: make(chan []byte, bytes/piece)}
	go func() {
		defer close(b.held)
		for {
			p := make([]byte, piece)
			n, err := conn.Read(p)
			if err != nil {
				return
			}
			b.held <- p[:n]
		}
	}()
	return b
}

func (b *buffered) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		var open bool
		if b.rest, open = <-b.held; !open {
			return 0, io.EOF
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close also drops the bytes that were not read.
func (b *buffered) Close() error {
	err := b.Conn.Close()
	for range b.held {
	}
	return err
}

const (
	bySequence   = "/v1/streams/bluesky/subscribe?cursor=%d"
	bySequenceV2 = pathV2 + "?stream=bluesky&cursor=%d"
)

// cut returns what the log says about subscribers that were cut.
func (d *daemon) cut(protocol string) (reasons []string) {
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, `"event":"subscriber.cut"`) && strings.Contains(line, `"protocol":"`+protocol+`"`) && strings.Contains(line, `"stream":"bluesky"`) {
			_, reason, _ := strings.Cut(line, `"reason":"`)
			reason, _, _ = strings.Cut(reason, `"`)
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// A subscriber that takes nothing is cut after the 5 s that a write may take, in the middle of a
// frame, as on a real server. Other subscribers and appends are not delayed at all.
func TestI8_ASubscriberThatTakesNothingHasFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		var texts []string
		for i := range int64(10) {
			texts = append(texts, padded(firstUS+i, 1+i, 30_000))
		}
		store(t, stream, texts...)
		d, subscribe := virtualSubscribers(t, stream, 0)
		began := time.Now()
		stuck := map[string]*subscriber{"v1": subscribe(fmt.Sprintf(bySequence, 0)), "v2": subscribe(fmt.Sprintf(bySequenceV2, 0))}
		synctest.Wait()
		reads := subscribe(fmt.Sprintf(bySequence, 0))
		same(t, reads.read(10), texts)
		for i := range int64(10) {
			texts = append(texts, padded(firstUS+100+i, 11+i, 30_000))
			store(t, stream, texts[10+i])
			same(t, reads.read(1), texts[10+i:])
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("ten appends and their reading took %v beside subscribers that take nothing", took)
		}
		d.tailing("bluesky", 1)
		if took := time.Since(began); took < 5*time.Second || took > 5*time.Second+10*time.Millisecond {
			t.Errorf("they were cut after %v, want 5 s", took)
		}
		for protocol, s := range stuck {
			if got, ending := s.rest(); len(got) > 0 || ending.Code != -1 {
				t.Errorf("%s: was sent %d messages and a close frame with %v, want neither", protocol, len(got), ending)
			}
			if reasons := d.cut(protocol); len(reasons) != 1 || !strings.Contains(reasons[0], "timeout") {
				t.Errorf("%s: the log says %q", protocol, reasons)
			}
		}
		store(t, stream, padded(firstUS+200, 200, 1))
		reads.read(1)
	})
}

// The ping to a subscriber that is behind is queued after the bytes that it has not read. As long
// as it takes every write in time, it stays connected, however late its pongs are.
func TestI8_ASubscriberThatTakesEveryWriteInTimeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		var texts []string
		for i := range int64(500) {
			texts = append(texts, padded(firstUS+i, 1+i, 8000))
		}
		store(t, stream, texts...)
		d, subscribe := virtualSubscribers(t, stream, 256<<10)
		s := subscribe(fmt.Sprintf(bySequence, 0))
		began := time.Now()
		for i, want := range texts {
			<-time.After(400 * time.Millisecond) // one write holds eight messages
			_, got, err := s.Read(context.Background())
			if err != nil {
				t.Fatalf("it was cut after %d events and %v: %v %q", i, time.Since(began), err, d.cut("v1"))
			}
			same(t, []string{string(got)}, []string{want})
		}
	})
}

// A subscriber at the tip must answer pings, although nothing is sent to it.
func TestI8_ASubscriberThatDoesNotAnswerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, subscribe := virtualSubscribers(t, openStream(t, openStore(t), "bluesky"), 256<<10)
		for path, protocol := range map[string]string{"/v1/streams/bluesky/subscribe": "v1", pathV2 + "?stream=bluesky": "v2"} {
			began := time.Now()
			s := subscribe(path)
			<-time.After(34 * time.Second)
			d.tailing("bluesky", 1)
			d.tailing("bluesky", 0)
			if took := time.Since(began); took > 35*time.Second+10*time.Millisecond {
				t.Errorf("%s: a subscriber that answers no ping was cut after %v, want 35 s", protocol, took)
			}
			if reasons := d.cut(protocol); len(reasons) != 1 || reasons[0] != "no pong within 5 s" {
				t.Errorf("%s: the log says %q", protocol, reasons)
			}
			if _, ending := s.rest(); ending.Code != -1 {
				t.Errorf("%s: it was sent a close frame with %v", protocol, ending)
			}
		}
	})
}

// distant is a stream that reports its tip 100 000 entries too far away: as many as a subscriber
// may be behind. Its pages are small.
type distant struct{ persistence.Stream }

const (
	distantTip  = 100_000
	distantPage = 50
)

func (d distant) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	page, err := d.Stream.Tail(ctx, after, block, min(limit, distantPage))
	page.Behind += distantTip
	page.Appended += distantTip
	return page, err
}

// A subscriber that is far behind and takes fewer than five events per second will never arrive. It
// is cut, and v2 is told where to continue. A slightly faster subscriber stays. Others are not
// affected.
func TestI8_ASubscriberThatFallsBehindForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		const entries = 700
		var texts []string
		for i := range int64(entries) {
			texts = append(texts, padded(firstUS+i, 1+i, 8000))
		}
		for at := 0; at < entries; at += 100 {
			store(t, stream, texts[at:at+100]...)
		}
		d, subscribe := virtualSubscribers(t, distant{stream}, 0)
		live := subscribe("/v1/streams/bluesky/subscribe")
		// read takes up to entries messages, one per interval, and returns them and the time that
		// they took. The intervals are chosen so that no ping is sent at the end of a page: there
		// it would wait for a mutex, which stops the time of a bubble.
		read := func(path string, interval time.Duration) (got []string, took time.Duration, ending error) {
			s := subscribe(fmt.Sprintf(path, 1))
			defer s.CloseNow()
			began := time.Now()
			for range entries {
				<-time.After(interval)
				_, b, err := s.Read(context.Background())
				if err != nil {
					return got, time.Since(began), err
				}
				got = append(got, string(b))
			}
			return got, time.Since(began), nil
		}
		var readers sync.WaitGroup
		readers.Go(func() {
			if got, took, err := read(bySequence, 170*time.Millisecond); err != nil {
				t.Errorf("a subscriber that takes six events a second was cut after %d of them and %v: %v", len(got), took, err)
			}
		})
		for path, protocol := range map[string]string{bySequence: "v1", bySequenceV2: "v2"} {
			readers.Go(func() {
				got, took, err := read(path, 250*time.Millisecond)
				if err == nil || websocket.CloseStatus(err) != -1 || took < time.Minute || took > 90*time.Second {
					t.Errorf("%s: a subscriber that takes four events a second was sent %d in %v and then %v, want an end after a minute and two pages, without a close frame", protocol, len(got), took, err)
					return
				}
				last := len(got)
				if protocol == "v2" {
					last--
					want := fmt.Sprintf(`{"$type":"error","error":"ConsumerTooSlow","message":"reading below the floor rate %d events behind the tip; reconnect with cursor=%d"}`, distantTip+entries+1-last, last+1)
					if got[last] != want {
						t.Errorf("the last message is %.300s, want %s", got[last], want)
					}
				}
			})
		}
		<-time.After(10 * time.Second)
		began := time.Now()
		const us, seq = firstUS + 1_000_000, entries + 1
		store(t, stream, event(us, seq))
		same(t, live.read(1), []string{event(us, seq)})
		_ = live.CloseNow()
		if took := time.Since(began); took > 0 {
			t.Errorf("an event took %v to a subscriber beside slow ones", took)
		}
		readers.Wait()
		for _, protocol := range []string{"v1", "v2"} {
			if reasons := d.cut(protocol); len(reasons) != 1 || reasons[0] != "fell behind, and below the least rate" {
				t.Errorf("%s: the log says %q", protocol, reasons)
			}
		}
	})
}
