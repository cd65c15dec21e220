package integration_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// numberClient follows a mirror as clients do: it remembers the sequence number of the last event,
// resumes with it, and drops events whose number is not above it.
type numberClient struct {
	t       *testing.T
	url     string
	lost    chan struct{} // closed to end the client
	mu      sync.Mutex
	last    int64
	events  []string // in v1's shape, without their numbers
	dropped int
}

var number = regexp.MustCompile(`,"cursor":\d+,"kind":`)

// withoutNumber returns an event without its sequence number, which differs between servers.
func withoutNumber(event string) string { return number.ReplaceAllString(event, `,"kind":`) }

// follow reads until the client is ended. It connects again after every end of a connection.
func (c *numberClient) follow() {
	for {
		c.connect()
		select {
		case <-c.lost:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *numberClient) connect() {
	ctx := c.t.Context()
	conn, _, err := websocket.Dial(ctx, fmt.Sprintf("%s?cursor=%d", c.url, c.last), nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-c.lost:
			_ = conn.CloseNow()
		case <-ended:
		}
	}()
	conn.SetReadLimit(-1)
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return
		}
		c.take(b)
	}
}

// take handles one message.
func (c *numberClient) take(b []byte) {
	var m struct {
		Cursor  int64
		Payload struct {
			Type string `json:"$type"`
			Seq  int64
			DID  string
			Rev  string
			RKey string
			// An event that is no commit is identified by the object of its kind.
			Identity, Account json.RawMessage
		}
		DID, Kind         string
		Commit            struct{ Rev, RKey string }
		Identity, Account json.RawMessage
	}
	if err := json.Unmarshal(b, &m); err != nil {
		c.t.Errorf("%v: %s", err, b)
		return
	}
	if strings.HasSuffix(m.Payload.Type, "#info") {
		c.t.Errorf("the client is told %s", b)
		return
	}
	seq := max(m.Cursor, m.Payload.Seq)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last > 0 && seq <= c.last {
		c.dropped++
		return
	}
	c.last = seq
	c.events = append(c.events, strings.Join([]string{m.DID + m.Payload.DID, m.Commit.Rev + m.Payload.Rev, m.Commit.RKey + m.Payload.RKey,
		string(m.Identity) + string(m.Payload.Identity) + string(m.Account) + string(m.Payload.Account)}, " "))
}

func (c *numberClient) has() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// TestI2_AMirrorsNumbersOnlyRise has clients that resume by number on a mirror. The mirror's feed
// moves between hosts with different numbers, some lower and some higher, and the daemon is killed
// and stopped meanwhile.
func TestI2_AMirrorsNumbersOnlyRise(t *testing.T) {
	t.Parallel()
	network := jetsim.Options{Seed: 9, Rate: 500, Lag: 3 * time.Second}
	high, low, between := network, network, network
	high.FirstSeq, low.FirstSeq, between.FirstSeq = 9_000_000_000, 100, 5_000_000
	low.Skew = -5 * time.Minute
	fleet, members, endpoints := listening(t, high, low, between)
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints": endpoints,
		"feeds." + feed + ".backoff":   `["20ms", "50ms"]`,
	})
	d.startLive()
	d.awaitStored(100)
	clients := map[string]*numberClient{}
	var following sync.WaitGroup
	for _, path := range []string{"/subscribe", "/xrpc/network.bsky.jetstream.subscribeEvents"} {
		c := &numberClient{t: t, url: "ws://" + d.addr + path, lost: make(chan struct{})}
		clients[path] = c
		following.Go(c.follow)
	}
	ended := sync.OnceFunc(func() {
		for _, c := range clients {
			close(c.lost)
		}
		following.Wait()
	})
	defer ended()
	some := func() {
		for path, c := range clients {
			n := len(c.has()) + 300
			eventually(t, path+" reads on", func() bool { return len(c.has()) >= n })
		}
	}
	some()
	hosts := map[string]bool{}
	for round := range 4 {
		refused := 10 * time.Minute // so that the feed visits each host
		if round >= 2 {
			refused = 5 * time.Second
			for _, m := range members {
				if err := m.Inject(jetsim.Fault{Name: jetsim.FaultRefuse, For: time.Millisecond}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var s messages.FeedStatus
		eventually(t, "the feed is live", func() bool { s = d.status(); return s.State == messages.StateLive })
		at, err := url.Parse(s.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		hosts[at.Host] = true
		if err := members[at.Host].Inject(jetsim.Fault{Name: jetsim.FaultRefuse, For: refused}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the feed is at another host", func() bool {
			now := d.status()
			return now.State == messages.StateLive && now.Endpoint != s.Endpoint
		})
		some()
		if len(hosts) == 2 { // while the numbers are those of the second host
			d.kill()
			d.startLive()
			some()
		}
	}
	d.stop()
	d.startLive()
	some()
	if len(hosts) < 3 {
		t.Errorf("the feed was at %d hosts", len(hosts))
	}
	d.exactOfFleet(fleet, nil)
	all := &numberClient{t: t}
	for i, text := range entriesOf(t, d) {
		all.take([]byte(strings.Replace(withoutNumber(text), `,"kind":`, fmt.Sprintf(`,"cursor":%d,"kind":`, i+1), 1)))
	}
	for path, c := range clients {
		eventually(t, path+" has the last event", func() bool {
			got := c.has()
			return got[len(got)-1] == all.events[len(all.events)-1]
		})
	}
	ended()
	for path, c := range clients {
		if !slices.Equal(c.events, all.events) {
			t.Errorf("%s has %d events, and the stream %d", path, len(c.events), len(all.events))
		}
		t.Logf("%s: %d events over %d hosts, lost 0, %d sent again and dropped", path, len(c.events), len(hosts), c.dropped)
	}
}
