package archive_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/archive"
	"tempestd/internal/archive/jss"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
)

// faultCase says what a sweep does about a fault.
type faultCase struct {
	fault string
	// always: the fault happens to every answer that it fits, and not to one.
	always bool
	want   error // nil: everything is delivered
	where  bool  // the error names the segment
	check  func(t *testing.T, f *faulted)
	filter jetstream.Filter
	clock  clockwork.Clock // nil: one that does not wait
}

// faulted is a sweep through a fault.
type faulted struct {
	got    taken
	want   [][]byte // without the fault
	seqs   []int64
	result archive.Result
	err    error
	notes  *notes
	waited []error
}

func (f *faulted) complete(t *testing.T) { t.Helper(); same(t, f.got.entries, f.want) }

// replanned: the sweep met a change, planned anew, and has everything.
func replanned(kind error) func(t *testing.T, f *faulted) {
	return func(t *testing.T, f *faulted) {
		if len(f.notes.replanned) == 0 || !errors.Is(f.notes.replanned[0], kind) {
			t.Errorf("planned anew because of %v", f.notes.replanned)
		}
	}
}

func waited(kind error) func(t *testing.T, f *faulted) {
	return func(t *testing.T, f *faulted) {
		if len(f.waited) == 0 || !errors.Is(f.waited[0], kind) {
			t.Errorf("waited because of %v", f.waited)
		}
	}
}

func skipped(why archive.Reason) func(t *testing.T, f *faulted) {
	return func(t *testing.T, f *faulted) {
		seqs := f.notes.skipped[why]
		if len(seqs) != 1 || len(f.notes.skipped) != 1 || slices.Contains(f.seqs, int64(seqs[0])) {
			t.Errorf("skipped %v", f.notes.skipped)
		}
	}
}

// What a sweep does about each fault of an archive.
func TestEveryFault(t *testing.T) {
	cases := []faultCase{
		{fault: jetsim.FaultFrameFlip},
		{fault: jetsim.FaultFrameFlip, always: true, want: jss.ErrCorrupt, where: true},
		{fault: jetsim.FaultFrameFlip, filter: jetstream.Filter{Collections: []string{"app.bsky.graph.block"}, Kinds: []string{"commit"}}},
		{fault: jetsim.FaultIndexFlip},
		{fault: jetsim.FaultIndexFlip, always: true},
		{fault: jetsim.FaultBloomFlip},
		{fault: jetsim.FaultBloomFlip, always: true},
		{fault: jetsim.FaultPlanChecksum, check: replanned(archive.ErrChanged)},
		{fault: jetsim.FaultPlanChecksum, always: true, want: archive.ErrChanged},
		{fault: jetsim.FaultGeneration, check: replanned(archive.ErrChanged)},
		{fault: jetsim.FaultGeneration, always: true, want: archive.ErrChanged},
		{fault: jetsim.FaultGone, check: replanned(archive.ErrGone)},
		{fault: jetsim.FaultGone, always: true, want: archive.ErrGone},
		{fault: jetsim.FaultCut},
		{fault: jetsim.FaultCut, always: true},
		{fault: jetsim.FaultNoRange},
		{fault: jetsim.FaultNoRange, always: true},
		{fault: jetsim.FaultQuota, clock: clockwork.NewRealClock(), check: waited(archive.ErrQuota)}, // for 1 s
		{fault: jetsim.FaultUnauthorized, want: archive.ErrUnauthorized},
		{fault: jetsim.FaultForbidden, want: archive.ErrUnauthorized},
		{fault: jetsim.FaultNotReady, check: waited(archive.ErrNotReady)},
		{fault: jetsim.FaultNotReady, always: true, want: archive.ErrNotReady},
		{fault: jetsim.FaultRedirect, want: archive.ErrRedirect, check: func(t *testing.T, f *faulted) {
			if !strings.Contains(f.err.Error(), "127.0.0.2") {
				t.Errorf("the error does not name the host: %v", f.err)
			}
		}},
		{fault: jetsim.FaultNoFilter, filter: jetstream.Filter{Collections: []string{"app.bsky.feed.post"}}, check: func(t *testing.T, f *faulted) {
			if !slices.Equal(f.notes.widened, []string{"collections"}) {
				t.Errorf("widened %v", f.notes.widened)
			}
		}},
		{fault: jetsim.FaultNoFilter, always: true, filter: jetstream.Filter{Collections: []string{"app.bsky.feed.post"}, DIDs: []string{"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}},
			check: func(t *testing.T, f *faulted) {
				if !slices.Equal(f.notes.widened, []string{"dids", "collections"}) {
					t.Errorf("widened %v", f.notes.widened)
				}
			}},
		{fault: jetsim.FaultPlanStuck, want: archive.ErrStuck},
		{fault: jetsim.FaultPlanIdle, filter: jetstream.Filter{Collections: []string{"app.bsky.graph.block"}, Kinds: []string{"commit"}}},
		{fault: jetsim.FaultPlanBehind, always: true, check: func(t *testing.T, f *faulted) {
			if n := len(f.got.entries); n != len(f.want)-200 || f.result.Through != uint64(f.seqs[n-1]) {
				t.Errorf("%d entries, through %d", n, f.result.Through)
			}
		}},
		{fault: jetsim.FaultBlockEmpty, check: func(t *testing.T, f *faulted) {
			if n := len(f.got.entries); n != len(f.want)-20 || !rising(f.got.seqs()) {
				t.Errorf("%d entries", n)
			}
		}},
		{fault: jetsim.FaultBlockKind, want: jss.ErrUnknown, where: true},
		{fault: jetsim.FaultBlockLengths},
		{fault: jetsim.FaultBlockLengths, always: true, want: jss.ErrCorrupt, where: true},
		{fault: jetsim.FaultBlockRows},
		{fault: jetsim.FaultBlockRows, always: true, want: jss.ErrCorrupt, where: true},
		{fault: jetsim.FaultBlockOutside},
		{fault: jetsim.FaultBlockOutside, always: true, want: jss.ErrCorrupt, where: true},
		{fault: jetsim.FaultBlockOrder},
		{fault: jetsim.FaultBlockOrder, always: true, want: jss.ErrCorrupt, where: true},
		{fault: jetsim.FaultBlockBomb, want: archive.ErrTooLarge, where: true},
		{fault: jetsim.FaultBlockFloat, check: skipped(archive.ReasonFloat)},
		{fault: jetsim.FaultBlockList, check: skipped(archive.ReasonNotMap)},
		{fault: jetsim.FaultBlockLink, check: skipped(archive.ReasonLink)},
	}
	for _, c := range cases {
		name := c.fault + " once"
		if c.always {
			name = c.fault + " always"
		}
		t.Run(name, func(t *testing.T) { throughFault(t, c) })
	}
	// Tests of their own have the rest.
	elsewhere := []string{jetsim.FaultCompact, jetsim.FaultReplaced, jetsim.FaultSeqHole, jetsim.FaultCursorTooOld}
	for _, f := range jetsim.Faults() {
		if f.Archive && !slices.Contains(elsewhere, f.Name) && !slices.ContainsFunc(cases, func(c faultCase) bool { return c.fault == f.Name }) {
			t.Errorf("nothing tests the fault %s", f.Name)
		}
	}
}

func throughFault(t *testing.T, c faultCase) {
	const n = 600
	s := server(t, jetsim.Options{Backlog: n})
	whole, _ := sweep(t, archive.Sweep{Client: client(t, s), Filter: c.filter})
	f := &faulted{want: whole.entries, seqs: whole.seqs(), notes: &notes{}}
	fault := jetsim.Fault{Name: c.fault}
	if c.always {
		fault.For = time.Hour
	}
	if err := s.Inject(fault); err != nil {
		t.Fatal(err)
	}
	cl := client(t, s, func(o *archive.Options) {
		if c.clock != nil {
			o.Clock = c.clock
		}
		o.Waiting = func(_ time.Time, why error) {
			f.notes.note(func() {
				if why != nil {
					f.waited = append(f.waited, why)
				}
			})
		}
	})
	sw := archive.Sweep{Client: cl, Filter: c.filter, Deliver: f.got.deliver, Watcher: f.notes}
	f.result, f.err = sw.Run(t.Context())
	if !errors.Is(f.err, c.want) {
		t.Fatalf("%v, want %v", f.err, c.want)
	}
	if where, ok := errors.AsType[*archive.SegmentError](f.err); c.where != ok {
		t.Errorf("the error names the segment %v", where)
	}
	if c.check != nil {
		c.check(t, f)
	}
	switch {
	case c.want != nil: // everything before the fault is there, and the point is behind it
		same(t, f.got.entries, f.want[:len(f.got.entries)])
		if k := len(f.got.entries); k > 0 && f.result.Through < uint64(f.seqs[k-1]) {
			t.Errorf("through %d, delivered up to %d", f.result.Through, f.seqs[k-1])
		}
	case c.fault != jetsim.FaultPlanBehind && c.fault != jetsim.FaultBlockEmpty:
		f.complete(t)
	}
}

// The key stays at its host: a redirect to another one is not followed.
func TestI10_TheKeyDoesNotFollowARedirect(t *testing.T) {
	const key = "secret-of-this-test"
	s := server(t, jetsim.Options{Backlog: 400, Archive: &jetsim.ArchiveOptions{Key: key}})
	_, port, _ := net.SplitHostPort(s.Addr())
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	elsewhere := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })}
	go func() { _ = elsewhere.Serve(l) }()
	t.Cleanup(func() { _ = elsewhere.Close() })

	withKey := func(o *archive.Options) { o.Key = key }
	if got, _ := sweep(t, archive.Sweep{Client: client(t, s, withKey)}); len(got.entries) != 400 {
		t.Errorf("%d entries with the key", len(got.entries))
	}
	var said []string
	run := func(c *archive.Client) error {
		var got taken
		_, err := (&archive.Sweep{Client: c, Deliver: got.deliver}).Run(t.Context())
		said = append(said, err.Error())
		return err
	}
	if err := run(client(t, s)); !errors.Is(err, archive.ErrUnauthorized) {
		t.Errorf("without the key: %v", err)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultRedirect, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := run(client(t, s, withKey)); !errors.Is(err, archive.ErrUnauthorized) && !errors.Is(err, archive.ErrRedirect) {
		t.Errorf("with a redirect: %v", err)
	}
	if asked.Load() > 0 {
		t.Error("the other host was asked")
	}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error":"Forbidden","message":"not with %s"}`, r.Header.Get("Authorization"))
	}))
	t.Cleanup(echo.Close)
	if err := run(client(t, s, withKey, func(o *archive.Options) { o.BaseURL = echo.URL })); !errors.Is(err, archive.ErrUnauthorized) {
		t.Errorf("a server that repeats the key: %v", err)
	}
	_, err = archive.NewClient(archive.Options{BaseURL: "http://x", Key: key + "\n", HTTP: http.DefaultClient})
	if said = append(said, err.Error()); strings.Contains(strings.Join(said, " "), "secret") {
		t.Errorf("a key in %q", said)
	}
}

// A server without the calls of an archive is told apart from one that lost a segment.
func TestAServerWithoutAnArchive(t *testing.T) {
	s, err := jetsim.New(jetsim.Options{Backlog: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var got taken
	if _, err := (&archive.Sweep{Client: client(t, s), Deliver: got.deliver}).Run(t.Context()); !errors.Is(err, archive.ErrNoArchive) {
		t.Error(err)
	}
}
