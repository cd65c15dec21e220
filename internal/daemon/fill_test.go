package daemon_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// archived starts a simulator with history, of which all but the newest part is in its archive. Its
// segments and blocks are small, so that a short history has many.
func archived(t *testing.T, backlog int64, change func(*jetsim.Options)) *jetsim.Sim {
	t.Helper()
	opt := jetsim.Options{Backlog: backlog, Segment: 250, Block: 25, Archive: &jetsim.ArchiveOptions{}, Newer: jetsim.AllNewer()}
	if change != nil {
		change(&opt)
	}
	sim, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim
}

// beginning is a configuration whose feed begins at a place, over either protocol.
func beginning(t *testing.T, sim *jetsim.Sim, at config.Start) *config.Config {
	cfg := configure(t.TempDir(), "ws://"+sim.Addr())
	cfg.Feeds[0].Start = at
	cfg.Feeds[0].Backoff = []time.Duration{20 * time.Millisecond}
	cfg.Feeds[0].Retention = config.Retention{}
	cfg.Feeds[0].BatchEvents = 2_048 // an append ends within a segment
	return cfg
}

// complete checks that the stream holds every event, once and in order.
func (r *running) complete(t *testing.T, sim *jetsim.Sim, opt jetsim.VerifyOptions) jetsim.Report {
	t.Helper()
	opt.FromFirstStored = true
	report, err := sim.Verify(r.entries(t.Context(), sim), opt)
	if n := sim.Stats().Contents; err != nil || !report.OK() || report.Sent != n || report.Gaps > 0 {
		t.Errorf("%v: %v, want %d events: %v; events %v", err, report, n, report.Examples, r.log.of(""))
	}
	return report
}

func TestAFeedBeginsWhereItsStartSays(t *testing.T) {
	const backlog = 3_083 // a millisecond apart
	whole, half := int64(backlog), int64(backlog/2)
	// ago is the time of the n-th event from the end of the history.
	ago := func(n int64) func(*jetsim.Sim) config.Start {
		return func(sim *jetsim.Sim) config.Start {
			return config.StartAt{At: time.UnixMicro(sim.Stats().Newest).Add(-time.Duration(n-1) * time.Millisecond)}
		}
	}
	is := func(s config.Start) func(*jetsim.Sim) config.Start {
		return func(*jetsim.Sim) config.Start { return s }
	}
	for name, c := range map[string]struct {
		start  func(*jetsim.Sim) config.Start
		change func(*jetsim.Options)
		forget int    // events that the socket does not have any more
		v      string // the path of a protocol
		want   int64  // of the history so many events are stored
		gaps   int64
		filled bool // the archive was read
	}{
		"with what comes from now on":             {start: is(config.StartLive{})},
		"with everything in the archive":          {start: is(config.StartArchive{}), want: whole, filled: true},
		"an archive that the socket has too":      {start: is(config.StartArchive{}), forget: 2_000, want: whole, filled: true},
		"with the oldest of a v2 socket":          {start: is(config.StartEarliest{}), v: "/xrpc/network.bsky.jetstream.subscribeEvents", want: whole},
		"with the oldest of a v1 socket":          {start: is(config.StartEarliest{}), v: "/subscribe", want: whole},
		"with what a socket has left":             {start: is(config.StartEarliest{}), forget: 1_250, want: whole - 1_250},
		"at a time that the socket has":           {start: ago(half), want: half},
		"at a time that a v1 socket has":          {start: ago(half), v: "/subscribe", want: half},
		"at a time that the archive has":          {start: ago(half), forget: 2_250, want: half, filled: true},
		"at a time before everything":             {start: ago(2 * whole), forget: 2_250, want: whole, filled: true},
		"at a time that nothing has":              {start: ago(half), forget: 2_250, change: func(o *jetsim.Options) { o.Archive = nil }, want: whole - 2_250, gaps: 1},
		"at a time, where a key is wanted":        {start: ago(half), forget: 2_250, change: func(o *jetsim.Options) { o.Archive.Key = "secret" }, want: whole - 2_250, gaps: 1},
		"an archive with nothing sealed":          {start: is(config.StartArchive{}), change: func(o *jetsim.Options) { o.Segment = 12_500 }, want: whole},
		"in several pages and older ways":         {start: is(config.StartArchive{}), change: func(o *jetsim.Options) { o.Archive.PlanEntries, o.Newer = 3, nil }, want: whole, filled: true},
		"a network with events of every kind":     {start: is(config.StartArchive{}), change: func(o *jetsim.Options) { o.Syncs = true }, want: whole, filled: true},
		"a time within the active segment":        {start: ago(50), want: 50},
		"so long ago":                             {start: is(config.StartAgo{Ago: time.Hour}), want: whole, filled: true},
		"a socket that begins within the archive": {start: ago(375), forget: 2_800, want: 375, filled: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := archived(t, backlog, c.change)
			if c.forget > 0 {
				sim.Forget(c.forget)
			}
			cfg := beginning(t, sim, c.start(sim))
			if c.v != "" {
				e, err := config.ParseEndpoint("ws://" + sim.Addr() + c.v)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Feeds[0].Endpoints = []config.Endpoint{e}
			}
			d := start(t, cfg)
			defer func() { d.finish(t) }()
			d.log.await(t, "feed.live", 1)
			if c.want == 0 {
				d.join(t, sim)
			}
			sim.Produce(100)
			report, err := sim.Verify(d.entries(t.Context(), sim), jetsim.VerifyOptions{FromFirstStored: true})
			if err != nil || !report.OK() || report.Gaps != c.gaps {
				t.Fatalf("%v: %v %v; events %v", err, report, report.Examples, d.log.of(""))
			}
			// Events of one commit share a time.
			if history := backlog - (sim.Stats().Contents - report.Sent); c.want > 0 && (history > c.want || history < c.want-5) {
				t.Errorf("%d events of the history, want %d", history, c.want)
			}
			if filled := len(d.log.of("feed.filling")) > 0; filled != c.filled && !strings.Contains(name, "sealed") && c.gaps == 0 {
				t.Errorf("the archive was read: %v; events %v", filled, d.log.of("feed."))
			}
		})
	}
}

// The start is for a feed without a position. It is said once that it means nothing for another one.
func TestAFeedThatHasAPositionIgnoresItsStart(t *testing.T) {
	sim := archived(t, 1_500, nil)
	cfg := beginning(t, sim, config.StartLive{})
	d := start(t, cfg)
	d.join(t, sim)
	d.finish(t)
	cfg.Feeds[0].Start = config.StartArchive{}
	d = start(t, cfg)
	defer func() { d.finish(t) }()
	d.log.await(t, "feed.live", 1)
	if err := d.Reconnect(t.Context(), "sky"); err != nil {
		t.Fatal(err)
	}
	d.log.await(t, "feed.live", 2)
	sim.Produce(10)
	report, err := sim.Verify(d.entries(t.Context(), sim), jetsim.VerifyOptions{FromFirstStored: true})
	if err != nil || !report.OK() || report.Sent > 300 {
		t.Errorf("%v: %v", err, report)
	}
	if said := d.log.of("feed.start_ignored"); len(said) != 1 {
		t.Errorf("it was said %d times", len(said))
	}
}

// A filtered feed downloads the blocks that have something for it, and gets exactly what it wants.
func TestAFilteredFeedBeginsWithItsBlocks(t *testing.T) {
	sim := archived(t, 10_000, nil)
	cfg := beginning(t, sim, config.StartArchive{})
	cfg.Feeds[0].Collections = []string{"app.bsky.actor.profile"}
	cfg.Feeds[0].Kinds = []string{"commit"}
	d := start(t, cfg)
	defer func() { d.finish(t) }()
	d.log.await(t, "feed.live", 1)
	sim.Produce(1_500)
	newest := sim.Stats().NewestSeq
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s, err := d.Feed(t.Context(), "sky")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v: at %d of %d", err, s.Position.Seq, newest)
		}
		if s.Position.Seq > newest-500 && s.LagMS < 1000 {
			break
		}
	}
	var got [][]byte
	for after := "0-0"; ; {
		page, err := d.Tail(t.Context(), "sky", after, 100*time.Millisecond, 1000, messages.ConsumerFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			got, after = append(got, bytes.Clone(e.Event)), e.ID.String()
		}
	}
	report, err := sim.Verify(func(yield func([]byte, error) bool) {
		for _, e := range got {
			if !yield(e, nil) {
				return
			}
		}
	}, jetsim.VerifyOptions{FromFirstStored: true, Query: url.Values{"collections": {"app.bsky.actor.profile"}, "kinds": {"commit"}}})
	if err != nil || !report.OK() || report.Gaps > 0 || report.Stored < 50 {
		t.Errorf("%v: %v %v", err, report, report.Examples)
	}
}

// Whatever the archive and the socket do on the way, the stream holds everything, once and in order.
func TestFaultsOnTheWayOfAFirstFill(t *testing.T) {
	for name, faults := range map[string][]string{
		"a socket that does not go back so far":    {jetsim.FaultCursorTooOld},
		"nor the next time":                        {jetsim.FaultCursorTooOld, jetsim.FaultCursorTooOld, jetsim.FaultCursorTooOld},
		"a quota that is used up":                  {jetsim.FaultQuota + ":1s"},
		"a server that is not ready":               {jetsim.FaultNotReady},
		"a cut answer":                             {jetsim.FaultCut, jetsim.FaultCut},
		"a segment of another generation":          {jetsim.FaultGeneration, jetsim.FaultPlanChecksum, jetsim.FaultGone},
		"damage on the way":                        {jetsim.FaultFrameFlip, jetsim.FaultIndexFlip},
		"records that cannot be delivered":         {jetsim.FaultBlockFloat, jetsim.FaultBlockList, jetsim.FaultBlockLink},
		"a plan that stands still, and one behind": {jetsim.FaultPlanStuck, jetsim.FaultPlanBehind},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := archived(t, 3_750, nil)
			for _, text := range faults {
				f, err := jetsim.ParseFault(text)
				if err == nil {
					err = sim.Inject(f)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			cfg := beginning(t, sim, config.StartArchive{})
			d := start(t, cfg)
			defer func() { d.finish(t) }()
			d.log.await(t, "feed.live", 1)
			sim.Produce(375)
			d.complete(t, sim, jetsim.VerifyOptions{})
		})
	}
}

// A socket that never goes back to the end of the archive is given up on after some readings of the
// archive. What is missing is a gap.
func TestI4_ACutOverThatNeverComesIsAGap(t *testing.T) {
	sim := archived(t, 1_375, nil)
	f, err := jetsim.ParseFault(jetsim.FaultCursorTooOld + ":1h")
	if err == nil {
		err = sim.Inject(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	sim.Forget(1_300)
	d := start(t, beginning(t, sim, config.StartArchive{}))
	defer func() { d.finish(t) }()
	d.log.await(t, "feed.gapped", 1)
	sim.Produce(10)
	report, err := sim.Verify(d.entries(t.Context(), sim), jetsim.VerifyOptions{FromFirstStored: true})
	if err != nil || !report.OK() || report.Gaps != 1 || report.Dropped != 50 {
		t.Errorf("%v: %v %v; events %v", err, report, report.Examples, d.log.of("feed."))
	}
}

// patience bounds every wait. What takes longer does not come, even on the slowest machine.
const patience = 3 * time.Minute

// awaitFeed waits until the feed's status is as wanted.
func (r *running) awaitFeed(t *testing.T, what string, wanted func(messages.FeedStatus) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s, err := r.Feed(t.Context(), "sky")
		if err == nil && wanted(s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come: %v, %+v", what, err, s)
		}
	}
}

// A quota that is used up is waited for, and everybody can see it. A pause ends the wait, and what is
// stored by then is not read again.
func TestAFillThatWaitsForItsQuotaIsSeen(t *testing.T) {
	sim := archived(t, 7_500, func(o *jetsim.Options) {
		o.Archive.Quota, o.Archive.QuotaEvery = 500_000, 6*time.Second
	})
	d := start(t, beginning(t, sim, config.StartArchive{}))
	defer func() { d.finish(t) }()
	d.awaitFeed(t, "the wait", func(s messages.FeedStatus) bool {
		return s.State == messages.StateFilling && strings.HasPrefix(s.Reason, "waiting until ") && s.Fill != nil && !s.Fill.WaitUntil.IsZero() && s.Fill.Bytes > 0
	})
	if err := d.Pause(t.Context(), "sky"); err != nil {
		t.Fatal(err)
	}
	d.awaitFeed(t, "the pause", func(s messages.FeedStatus) bool { return s.State == messages.StatePaused })
	if err := d.Resume(t.Context(), "sky"); err != nil {
		t.Fatal(err)
	}
	d.log.await(t, "feed.live", 1)
	sim.Produce(100)
	d.complete(t, sim, jetsim.VerifyOptions{})
	if n := len(d.log.of("watchdog.stalled")); n > 0 {
		t.Errorf("the wait was taken for a stalled feed %d times", n)
	}
}

// An archive that wants another key is no reason to begin elsewhere.
func TestAFillThatIsRefusedSaysSo(t *testing.T) {
	sim := archived(t, 750, func(o *jetsim.Options) { o.Archive.Key = "secret" })
	cfg := beginning(t, sim, config.StartArchive{})
	d := start(t, cfg)
	d.awaitFeed(t, "the refusal", func(s messages.FeedStatus) bool {
		return s.State == messages.StateFailed && strings.Contains(s.Reason, "key") && s.Stored == 0
	})
	d.finish(t)
	cfg.Feeds[0].Repair.ArchiveKeys = map[string]config.Secret{sim.Addr(): config.NewSecret("secret")}
	d = start(t, cfg)
	defer func() { d.finish(t) }()
	d.log.await(t, "feed.live", 1)
	sim.Produce(100)
	d.complete(t, sim, jetsim.VerifyOptions{})
}

// A daemon that is stopped on the way goes on where it was.
func TestAFillSurvivesARestart(t *testing.T) {
	sim := archived(t, 7_500, nil)
	cfg := beginning(t, sim, config.StartArchive{})
	cfg.Feeds[0].BatchEvents = 125
	for range 3 {
		d := start(t, cfg)
		d.awaitFeed(t, "something of it", func(s messages.FeedStatus) bool { return s.Stored > 500 })
		d.finish(t)
	}
	d := start(t, cfg)
	defer func() { d.finish(t) }()
	d.log.await(t, "feed.live", 1)
	sim.Produce(100)
	d.complete(t, sim, jetsim.VerifyOptions{})
}
