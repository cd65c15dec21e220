package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is an output that can be read while a command writes to it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	wake chan struct{} // sent to, if there is room, after each write
}

func newBuffer() *buffer { return &buffer{wake: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until the output contains text.
func (b *buffer) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for !strings.Contains(b.String(), text) {
		select {
		case <-b.wake:
		case <-limit:
			t.Fatalf("%q did not come; there is\n%s", text, b)
		}
	}
}

// process is a command line that runs or has run.
type process struct {
	out, err *buffer
	code     int
}

// execIn runs a command line in this process. env has the names and values of the environment in
// turns.
func execIn(ctx context.Context, env []string, args ...string) process {
	p := process{out: newBuffer(), err: newBuffer()}
	p.run(ctx, env, args...)
	return p
}

func (p *process) run(ctx context.Context, env []string, args ...string) {
	lookup := func(name string) (string, bool) {
		for i := 0; i < len(env); i += 2 {
			if env[i] == name {
				return env[i+1], true
			}
		}
		return "", false
	}
	p.code = execute(ctx, &app{in: strings.NewReader(""), out: p.out, err: p.err, env: lookup}, args)
}

// run runs a command line in a directory without a configuration.
func run(t *testing.T, args ...string) process {
	t.Helper()
	t.Chdir(t.TempDir())
	return execIn(t.Context(), nil, args...)
}

// file writes a file into a new directory and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeDaemon is the real HTTP API over a real store, with an invented feed.
type fakeDaemon struct {
	*httptest.Server
	api      *serve.Server
	store    persistence.Store
	stream   persistence.Stream
	observer *observe.Observer
	control  *fakeControl
	last     int64 // µs of the newest event
}

// fakeControl is a supervisor with one feed, "sky".
type fakeControl struct {
	mu     sync.Mutex
	status messages.FeedStatus
	asked  []string

	reloaded messages.Reloaded // the answers to a reload
	refuses  error
}

func (f *fakeControl) HasFeed(name string) bool { return name == "sky" }

func (f *fakeControl) DeleteStream(_ context.Context, stream string) error {
	if stream != "sky" {
		return fmt.Errorf("%w: %q", persistence.ErrNoStream, stream)
	}
	return f.ask("delete", stream)
}

func (f *fakeControl) Reload(context.Context) (messages.Reloaded, error) {
	return f.reloaded, f.refuses
}

func (f *fakeControl) Feeds(ctx context.Context) ([]messages.FeedStatus, error) {
	s, err := f.Feed(ctx, "sky")
	return []messages.FeedStatus{s}, err
}

func (f *fakeControl) Feed(_ context.Context, name string) (messages.FeedStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name != "sky" {
		return messages.FeedStatus{}, fmt.Errorf("%w: %q", messages.ErrNoFeed, name)
	}
	return f.status, nil
}

func (f *fakeControl) History(context.Context, string, messages.HistoryQuery) (messages.FeedHistory, error) {
	return messages.FeedHistory{}, nil
}

func (f *fakeControl) ask(verb, feed string) error {
	if _, err := f.Feed(context.Background(), feed); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, verb+" "+feed)
	return nil
}

func (f *fakeControl) Reconnect(_ context.Context, feed string) error {
	return f.ask("reconnect", feed)
}
func (f *fakeControl) Pause(_ context.Context, feed string) error  { return f.ask("pause", feed) }
func (f *fakeControl) Resume(_ context.Context, feed string) error { return f.ask("resume", feed) }
func (f *fakeControl) RepairGap(_ context.Context, feed string, m messages.RepairGap) (messages.GapAnswer, error) {
	answer := messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed}}
	if m.DryRun {
		answer.Offers = []messages.GapOffer{{Source: messages.SourceSocket, Bytes: 3 << 20, Requests: 1}, {Source: messages.SourceArchive, Why: "it has no key"}}
	}
	return answer, f.ask(fmt.Sprintf("repair %s %t", m.ID, m.DryRun), feed)
}

func (f *fakeControl) DismissGap(_ context.Context, feed string, m messages.DismissGap) (messages.GapAnswer, error) {
	return messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed}}, f.ask("dismiss "+m.ID+" "+m.Why, feed)
}

func (f *fakeControl) Close(_ context.Context, stream, reason string) (persistence.StreamInfo, error) {
	if stream != "sky" {
		return persistence.StreamInfo{}, fmt.Errorf("%w: %q", persistence.ErrNoStream, stream)
	}
	at := time.Unix(1_795_000_000, 0).UTC()
	return persistence.StreamInfo{Name: stream, ClosedAt: &at, ClosedReason: reason}, f.ask("close", stream)
}
func (f *fakeControl) Ready(context.Context) messages.Readiness {
	return messages.Readiness{Reasons: []string{"feed sky is not supervised"}}
}

func newFakeDaemon(t *testing.T, token string) *fakeDaemon {
	t.Helper()
	clock := clockwork.NewRealClock()
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{SyncInterval: time.Minute, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := store.OpenStream(t.Context(), "sky", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{store: store, stream: stream, observer: observe.Discard(), control: &fakeControl{status: messages.FeedStatus{
		Feed: "sky", State: messages.StateDisconnected, Since: time.Now().Add(-90 * time.Second), Reason: "reset\x1b[31m by peer",
		Position: messages.Position{TimeUS: 1_795_327_636_563_030}, LagMS: 1234, Stored: 1_234_567, Reconnects: 3,
	}}}
	d.api = serve.New(serve.Options{Store: store, Control: d.control, Reloader: d.control, Observer: d.observer, Token: token, Clock: clock})
	d.Server = httptest.NewServer(d.api.Handler())
	t.Cleanup(func() {
		d.stop(t)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// stop answers the waiting tails and closes the listener, as a stopping daemon does.
func (d *fakeDaemon) stop(t *testing.T) {
	if err := d.api.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	d.Close()
}

// append stores events with times a millisecond apart.
func (d *fakeDaemon) append(t *testing.T, events ...string) {
	t.Helper()
	batch := &messages.Batch{}
	for _, e := range events {
		d.last += 1000
		batch.Events = append(batch.Events, messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(e)), Kind: messages.KindCommit, TimeUS: d.last, Fingerprint: uint64(d.last)})
		batch.Buf = append(batch.Buf, e...)
	}
	if _, err := d.stream.Append(t.Context(), batch, messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
}

// posts returns n events, numbered from first.
func posts(first, n int) []string {
	var all []string
	for i := range n {
		text, _ := json.Marshal(fmt.Sprintf("post %d", first+i))
		all = append(all, fmt.Sprintf(`{"did":"did:plc:a","kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.post","rkey":"r","record":{"text":%s}}}`, text))
	}
	return all
}
