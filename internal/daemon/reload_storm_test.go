package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// stormFiles makes configurations at random.
type stormFiles struct {
	rand     *rand.Rand
	dir, url string
}

// next returns a file, and whether it is valid. The feed "sky" is the same in all that are valid.
func (s *stormFiles) next(all bool) (text string, valid bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "data_dir = %q\n[log]\nlevel = %q\n[http]\nlisten = \"127.0.0.1:0\"\nmax_tails = %d\n[stream]\nmin_free = \"16MiB\"\n",
		s.dir, []string{"debug", "info", "warn"}[s.rand.IntN(3)], 100+s.rand.IntN(3))
	s.feed(&b, "sky", "")
	for i := range 4 {
		if all || s.rand.IntN(2) == 0 {
			s.feed(&b, fmt.Sprintf("f%d", i), fmt.Sprintf("batch_delay = \"%dms\"\ngap_policy = %q\nretention = { entries = %d }\n",
				1+s.rand.IntN(3), []string{"record", "repair"}[s.rand.IntN(2)], 1_000_000+s.rand.IntN(2)))
		}
	}
	if all || s.rand.IntN(2) == 0 {
		s.feed(&b, "posts", []string{"", "collections = [\"app.bsky.feed.post\"]\n", "kinds = [\"commit\"]\n"}[s.rand.IntN(3)])
	}
	if all || s.rand.IntN(3) > 0 {
		return b.String(), true
	}
	return b.String() + []string{"[feeds.bad]\n", "[feeds.sky]\n", "nonsense = 1\n", "[http\n", "[feeds.worse]\nendpoints = [\"${TEMPESTD_NOT_SET}\"]\n"}[s.rand.IntN(5)], false
}

func (s *stormFiles) feed(b *strings.Builder, name, more string) {
	fmt.Fprintf(b, "[feeds.%s]\nendpoints = [%q]\nbackoff = [\"10ms\"]\nstart = \"earliest\"\nping_interval = \"10m\"\n%s", name, s.url, more)
}

// streamEntries yields a stream up to the newest event of the simulator, which must have stopped.
func (r *running) streamEntries(ctx context.Context, sim *jetsim.Sim, stream string) iter.Seq2[[]byte, error] {
	newest := fmt.Appendf(nil, `"cursor":%d,`, sim.Stats().NewestSeq)
	return func(yield func([]byte, error) bool) {
		for after := "0-0"; ; {
			page, err := r.Tail(ctx, stream, after, 30*time.Second, 1000, messages.ConsumerFilter{})
			if err == nil && len(page.Entries) == 0 {
				err = errors.New("the stream does not go on")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e.Event, nil) || bytes.Contains(e.Event, newest) {
					return
				}
				after = e.ID.String()
			}
		}
	}
}

// TEMPESTD_TEST_RELOADS is how many reloads there are, 30 without it.
func TestI2_I4_ReloadStorm(t *testing.T) {
	n := 30
	if given, err := strconv.Atoi(os.Getenv("TEMPESTD_TEST_RELOADS")); err == nil {
		n = given
	}
	sim, err := jetsim.New(jetsim.Options{Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("TEMPESTD_TEST_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("TEMPESTD_TEST_SEED=%d", seed)
	dir := t.TempDir()
	files := &stormFiles{rand.New(rand.NewPCG(seed, 0)), filepath.Join(dir, "data"), sim.URL()}
	path := filepath.Join(dir, "config.toml")
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (*config.Config, error) { return config.Load(path, os.LookupEnv) }
	text, _ := files.next(true)
	put(text)
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	d := startWith(t, cfg, daemon.Options{Load: load})
	defer d.finish(t)
	before := d.awaitStored(t, "sky")

	// Readers of what reloads change.
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	readers.Go(func() {
		for ctx.Err() == nil {
			_, err := d.Feeds(ctx)
			_, streamsErr := d.StreamStatuses(ctx)
			for _, err := range []error{err, streamsErr} {
				if err != nil && ctx.Err() == nil && refusal(err) != "NoAnswer" { // which a slow machine gives
					t.Error(err)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	rejected := 0
	for i := range n {
		text, valid := files.next(i == n-1)
		put(text)
		_, err := d.Reload(t.Context())
		if valid != (err == nil) || !valid && refusal(err) != "ConfigRejected" {
			t.Fatalf("reload %d gives %v; valid is %t:\n%s", i, err, valid, text)
		}
		if !valid {
			rejected++
		}
	}
	stop()
	readers.Wait()
	sim.StopProducing()
	for _, name := range []string{"sky", "f0", "f1", "f2", "f3"} {
		d.awaitStored(t, name)
	}
	sim.Produce(10)
	for _, name := range []string{"sky", "f0", "f1", "f2", "f3"} {
		report, err := sim.Verify(d.streamEntries(t.Context(), sim, name), jetsim.VerifyOptions{})
		if err != nil || !report.OK() {
			t.Errorf("%s: %v, %v %v", name, err, report, report.Examples)
		}
		t.Logf("%s: %v", name, report)
	}
	after, err := d.Feed(t.Context(), "sky")
	// On a machine that starves, the watchdog may take our own silence for the upstream's.
	if stalls := after.Stalls - before.Stalls; err != nil || uint64(after.Epoch-before.Epoch) != uint64(stalls) || after.Restarts != 0 {
		t.Errorf("the feed that never changed went from epoch %d to %d, with %d stalls and %d restarts, %v", before.Epoch, after.Epoch, stalls, after.Restarts, err)
	}
	t.Logf("%d reloads, %d of them rejected", n, rejected)
	if got := len(d.log.of("actor.")); got > 0 {
		t.Errorf("%d faults of actors: %v", got, slices.Compact(d.log.of("actor.")))
	}
}

// awaitStored waits until a feed is live and its stream has an entry.
func (r *running) awaitStored(t *testing.T, feed string) messages.FeedStatus {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s, err := r.Feed(t.Context(), feed)
		if err == nil && s.State == messages.StateLive && s.LastID != nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not live: %+v, %v", feed, s, err)
		}
	}
}
