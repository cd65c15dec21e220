package follow_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts"
	"tempestd/internal/follow"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what the account's server gives.
type answer struct {
	dids    []string
	listing accounts.Listing
	err     error
}

// rig is a follower and what it calls. Each round of it is told.
type rig struct {
	t     *testing.T
	clock *clockwork.FakeClock
	file  string
	log   strings.Builder
	next  answer
	asked int
	used  [][]string
	told  chan messages.FollowStatus
	useOf error
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, clock: clockwork.NewFakeClockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)), file: filepath.Join(t.TempDir(), "accounts", "me.json"),
		told: make(chan messages.FollowStatus, 1)}
}

func (r *rig) follower() *follow.Follower {
	r.t.Helper()
	f, err := follow.New(follow.Options{
		Feed: "sky", Account: "me.example", File: r.file, Refresh: time.Hour, Clock: r.clock,
		Observer: observe.New(slog.New(slog.NewTextHandler(&r.log, nil)), observe.NewMetrics(), observe.Strict()),
		Follows: func(context.Context) ([]string, accounts.Listing, error) {
			r.asked++
			return r.next.dids, r.next.listing, r.next.err
		},
		Use:  func(_ context.Context, dids []string) error { r.used = append(r.used, dids); return r.useOf },
		Told: func(_ context.Context, s messages.FollowStatus) { r.told <- s },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// run runs a follower until do returns.
func (r *rig) run(f *follow.Follower, do func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	<-r.told // how it begins
	do()
	cancel()
	<-ended
}

// after lets time pass until the follower has tried once more.
func (r *rig) after(d time.Duration) messages.FollowStatus {
	r.t.Helper()
	if err := r.clock.BlockUntilContext(r.t.Context(), 1); err != nil {
		r.t.Fatal(err)
	}
	r.clock.Advance(d)
	return <-r.told
}

func TestFollowsAreReadKeptAndUsed(t *testing.T) {
	r := newRig(t)
	f := r.follower()
	if got := f.DIDs(); !slices.Equal(got, []string{jetstream.Nobody}) {
		t.Fatal(got)
	}
	r.next.dids = []string{"did:plc:b", "did:plc:a"}
	r.run(f, func() {
		if s := r.after(0); s.Follows != 2 || s.Trouble != "" || s.RefreshedAt != r.clock.Now() {
			t.Errorf("%+v", s)
		}
		r.next.dids = []string{"did:plc:c", "did:plc:a"}
		r.after(time.Hour)
	})
	if want := [][]string{{"did:plc:a", "did:plc:b"}, {"did:plc:a", "did:plc:c"}}; !slices.EqualFunc(r.used, want, slices.Equal) {
		t.Errorf("used %v", r.used)
	}
	if !strings.Contains(r.log.String(), "event=follows.read feed=sky account=me.example follows=2 added=1 removed=1") {
		t.Error(r.log.String())
	}

	// A restart knows them, and asks when the hour is over.
	asked := r.asked
	f = r.follower()
	if !slices.Equal(f.DIDs(), []string{"did:plc:a", "did:plc:c"}) || f.Status().Follows != 2 {
		t.Error(f.DIDs(), f.Status())
	}
	r.clock.Advance(20 * time.Minute)
	r.run(f, func() {
		if r.asked != asked {
			t.Error("a restart asked at once")
		}
		r.after(40 * time.Minute)
	})
	if r.asked != asked+1 {
		t.Errorf("%d times", r.asked-asked)
	}
}

// What cannot be read changes nothing, and is tried again sooner.
func TestFollowsThatCannotBeRead(t *testing.T) {
	for want, row := range map[string]answer{
		"no answer":              {err: errors.New("no answer\nand a second line")},
		"the list ended early":   {dids: []string{"did:plc:z"}, listing: accounts.Listing{End: accounts.EndRepeats}},
		"the account is deactiv": {listing: accounts.Listing{Outcome: accounts.Outcome{State: accounts.Deactivated}}},
	} {
		r := newRig(t)
		f := r.follower()
		r.next.dids = []string{"did:plc:a"}
		r.run(f, func() {
			r.after(0)
			r.next = row
			s := r.after(time.Hour)
			if !strings.HasPrefix(s.Trouble, want) || strings.Contains(s.Trouble, "\n") || s.Follows != 1 || s.Since != r.clock.Now() {
				t.Errorf("%s: %+v", want, s)
			}
			r.after(30 * time.Second)
			s = r.after(time.Minute)
			if s.Since != r.clock.Now().Add(-90*time.Second) {
				t.Errorf("%s: %+v", want, s)
			}
			r.next = answer{dids: nil}
			if s := r.after(2 * time.Minute); s.Trouble != "" || s.Follows != 0 {
				t.Errorf("%s: %+v", want, s)
			}
		})
		if last := r.used[len(r.used)-1]; len(r.used) != 2 || !slices.Equal(last, []string{jetstream.Nobody}) {
			t.Errorf("%s: used %v", want, r.used)
		}
	}
}

func TestFollowsOfAnotherAccountAreNotUsed(t *testing.T) {
	r := newRig(t)
	if err := os.MkdirAll(filepath.Dir(r.file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"account":"other.example","at":"2026-10-31T00:00:00Z","dids":["did:plc:a"]}`, `{"acc`} {
		if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.follower().DIDs(); !slices.Equal(got, []string{jetstream.Nobody}) {
			t.Error(got)
		}
	}
}
