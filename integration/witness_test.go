package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/messages"
	"tempestd/persistence"
)

// sighting is an entry that a reader saw, with a hash of its event.
type sighting struct {
	id   messages.EntryID
	hash uint64
}

var hashSeed = maphash.MakeSeed()

func sight(e persistence.Entry) sighting {
	return sighting{e.ID, maphash.Bytes(hashSeed, bytes.TrimSpace(e.Event))}
}

// witness is a reader that is killed and resumes from its own position, and keeps what it saw. It
// asks the daemons in turns, as a client behind a load balancer does.
type witness struct {
	name  string
	way   way
	addrs []string

	kills   atomic.Int64
	mu      sync.Mutex
	seen    []sighting
	fault   string             // the first thing that no reader may see
	current context.CancelFunc // of the present attempt

	stop  context.CancelFunc
	ended chan struct{}
}

// way is a protocol: it reads from a daemon, after an entry, until something fails, and hands over
// each entry as soon as it is whole.
type way func(ctx context.Context, addr string, after messages.EntryID, take func(persistence.Entry)) error

// ways are the protocols of witnesses, by name.
var ways = map[string]way{"tail": readTail, "sse": readEvents, "command": readCommand, "consumer": readConsumer}

// summon starts a reader of the feed's stream at the daemons. It ends with the test.
func summon(t testing.TB, name string, daemons ...*daemon) *witness {
	t.Helper()
	w := &witness{name: name, way: ways[name], ended: make(chan struct{})}
	for _, d := range daemons {
		w.addrs = append(w.addrs, d.addr)
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	go w.run(ctx)
	t.Cleanup(w.dismiss)
	return w
}

// dismiss ends the reader for good.
func (w *witness) dismiss() {
	w.stop()
	<-w.ended
}

// kill ends the present attempt in the middle. The next one begins after the last entry that was
// whole.
func (w *witness) kill() {
	w.kills.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		w.current()
	}
}

func (w *witness) run(ctx context.Context) {
	defer close(w.ended)
	for n := 0; ctx.Err() == nil; n++ {
		attempt, cancel := context.WithCancel(ctx)
		w.mu.Lock()
		w.current = cancel
		w.mu.Unlock()
		err := w.way(attempt, w.addrs[n%len(w.addrs)], w.last(), w.take)
		cancel()
		if gone, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
			w.complain("it is told that its cursor has expired: %v", gone)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20*time.Millisecond + rand.N(50*time.Millisecond)): // a client's backoff
		}
	}
}

func (w *witness) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// last is the newest entry that it saw.
func (w *witness) last() (id messages.EntryID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.seen); n > 0 {
		id = w.seen[n-1].id
	}
	return id
}

func (w *witness) take(e persistence.Entry) {
	s := sight(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.seen); n > 0 && s.id.Compare(w.seen[n-1].id) <= 0 && w.fault == "" {
		w.fault = fmt.Sprintf("I3: entry %v came after entry %v", s.id, w.seen[n-1].id)
	}
	w.seen = append(w.seen, s)
}

// compare returns the first difference between what the reader saw and the stream, "" if there is
// none. The stream may begin later than the reader, by retention.
func (w *witness) compare(stream []sighting) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != "" {
		return w.fault
	}
	seen := w.seen
	for len(seen) > 0 && len(stream) > 0 && seen[0].id.Compare(stream[0].id) < 0 {
		seen = seen[1:]
	}
	for i, s := range stream {
		if i == len(seen) {
			return fmt.Sprintf("it has not seen entry %v and %d more", s.id, len(stream)-i-1)
		}
		if seen[i] != s {
			return fmt.Sprintf("its entry %d is %v, that of the stream %v (the same event: %v)", i, seen[i].id, s.id, seen[i].hash == s.hash)
		}
	}
	if len(seen) > len(stream) {
		return fmt.Sprintf("it has seen %v and %d more, which the stream does not have", seen[len(stream)].id, len(seen)-len(stream)-1)
	}
	return ""
}

// readTail reads by long polling.
func readTail(ctx context.Context, addr string, after messages.EntryID, take func(persistence.Entry)) error {
	c, err := client.New(addr, "")
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		page, err := c.Tail(ctx, feed, after.String(), time.Second, 500, messages.ConsumerFilter{})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			take(e)
		}
		after = page.Cursor
	}
}

// readEvents reads Server-Sent Events.
func readEvents(ctx context.Context, addr string, after messages.EntryID, take func(persistence.Entry)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/streams/"+feed+"/tail?live=sse&after=0-0", nil)
	if err != nil {
		return err
	}
	if !after.IsZero() {
		req.Header.Set("Last-Event-ID", after.String())
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 64<<20)
	var e persistence.Entry
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			if e.ID, err = messages.ParseEntryID(value); err != nil {
				return err
			}
		case "data":
			e.Event = []byte(value)
		case "": // the end of an event
			if e.Event != nil {
				take(e)
			}
			e = persistence.Entry{}
		}
	}
	return lines.Err()
}

// readCommand reads what a following tempestd tail prints. The process is killed with SIGKILL.
func readCommand(ctx context.Context, addr string, after messages.EntryID, take func(persistence.Entry)) error {
	cmd := exec.CommandContext(ctx, plain, "tail", feed, "-f", "--after", after.String(), "--addr", addr)
	cmd.Env = []string{"HOME=" + os.TempDir()}
	cmd.SysProcAttr = tied()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil { // the last line may be cut
			break
		}
		var e struct {
			ID    messages.EntryID
			Event json.RawMessage
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return errors.Join(err, cmd.Wait())
		}
		take(persistence.Entry{ID: e.ID, Event: e.Event})
	}
	return cmd.Wait()
}

// readConsumer works through a named consumer. A batch counts when its acknowledgement is answered,
// or when the next batch shows that it has arrived.
func readConsumer(ctx context.Context, addr string, after messages.EntryID, take func(persistence.Entry)) error {
	c, err := client.New(addr, "")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.CreateConsumer(ctx, feed, "witness", "0-0", messages.ConsumerFilter{}); err != nil {
		return err
	}
	for {
		batch, err := c.Next(ctx, feed, "witness", client.NextOptions{Limit: 500, Block: time.Second, Lease: time.Second})
		if err != nil {
			return err
		}
		if batch.Token == "" {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(batch.Left + 10*time.Millisecond):
			}
			continue
		}
		for _, e := range batch.Frames { // at least once: what comes again was seen
			if e.ID.Compare(after) > 0 {
				take(e)
				after = e.ID
			}
		}
		if err := c.Ack(ctx, feed, "witness", batch.Token); err != nil {
			return err
		}
	}
}
