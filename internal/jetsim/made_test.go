package jetsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/jetsim"
)

// lines are all events that a simulator has ingested.
func lines(t *testing.T, s *jetsim.Sim) (all [][]byte) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	want := int(s.Stats().Contents)
	err := s.Follow(ctx, func(line []byte) error {
		if all = append(all, append([]byte(nil), line...)); len(all) == want {
			cancel(enough)
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return all
}

// Revs and keys have the time of the clock at which their contents were made: in a backlog, at a
// rate, in a burst, and after a pause. They rise, no creation has the key of another one, a crash
// does not change them, and neither does a restart.
func TestRevsAndKeysHaveTheClocksTime(t *testing.T) {
	for name, opt := range map[string]jetsim.Options{"plain": {}, "legacy": {Legacy: true}, "archived": {Archive: &jetsim.ArchiveOptions{}},
		"ahead": {Skew: 2 * time.Hour}, "another order": {FirstSeq: 5_000_000}} {
		t.Run(name, func(t *testing.T) {
			clock := clockwork.NewFakeClockAt(noon)
			path := filepath.Join(t.TempDir(), "history")
			opt.Clock, opt.Accounts, opt.Backlog, opt.Path, opt.Block = clock, 50, 3000, path, 100
			s := newSim(t, opt)
			s.Produce(2000)
			clock.Advance(30 * time.Hour)
			s.Produce(2000)
			all := lines(t, s)
			type place struct{ did, collection, rkey string }
			last, created := map[string]string{}, map[place]bool{}
			for i, f := range decode(t, all) {
				if f.Kind != "commit" {
					continue
				}
				c := f.Commit
				for _, tid := range []string{c.Rev, c.Rkey} {
					us, ok := atproto.TIDMicro(tid)
					if !ok || tid == c.Rkey && c.Operation == "delete" {
						continue
					}
					if behind := time.UnixMicro(f.TimeUS).Add(-opt.Skew).Sub(time.UnixMicro(us)); behind < -time.Second || behind > 8*time.Second {
						t.Fatalf("event %d: %s is %v behind its time", i, tid, behind)
					}
				}
				if c.Rev < last[f.DID] {
					t.Fatalf("event %d: rev %s of %s follows %s", i, c.Rev, f.DID, last[f.DID])
				}
				last[f.DID] = c.Rev
				at := place{f.DID, c.Collection, c.Rkey}
				if c.Operation == "create" {
					if created[at] {
						t.Fatalf("event %d creates %v again", i, at)
					}
					created[at] = true
				}
			}
			before := map[string]bool{}
			for _, f := range decode(t, all) {
				before[f.identity()] = true
			}
			if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash}); err != nil {
				t.Fatal(err)
			}
			clock.Advance(time.Minute)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := newSim(t, opt)
			for i, f := range decode(t, lines(t, again)) {
				if !before[f.identity()] {
					t.Fatalf("event %d has another identity after a crash and a restart", i)
				}
			}
			h, err := jetsim.OpenHistory(path)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := h.Verify(stream(all), jetsim.VerifyOptions{FromFirstStored: true}); err != nil || !opt.Legacy && r.Altered+r.Foreign > 0 {
				t.Errorf("%v, %v %v", err, r, r.Examples)
			}
		})
	}
}

// Simulators in several processes are of one network when they are told when it began.
func TestOneNetworkInSeveralProcesses(t *testing.T) {
	opt := jetsim.Options{Rate: 100, Began: noon, Backlog: 500, Clock: clockwork.NewFakeClockAt(noon.Add(time.Minute))}
	a := newSim(t, opt)
	opt.Clock, opt.Path = clockwork.NewFakeClockAt(noon.Add(2*time.Minute)), filepath.Join(t.TempDir(), "history")
	b := newSim(t, opt)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = newSim(t, opt)
	one, other := decode(t, lines(t, a)), decode(t, lines(t, b))
	for i := range one {
		if one[i].identity() != other[i].identity() {
			t.Fatalf("event %d is %s and %s", i, one[i].identity(), other[i].identity())
		}
	}
	opt.Began = noon.Add(time.Second)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := jetsim.New(opt); err == nil {
		t.Error("a history was continued as another network's")
		s.Close()
	}
}

// Most reposts of an archived network show a post of it.
func TestRepostsShowPosts(t *testing.T) {
	type shown struct{ uri, cid string }
	posts, reposts, found := map[shown]bool{}, 0, 0
	s := newSim(t, jetsim.Options{Accounts: 50, Backlog: 5000, Archive: &jetsim.ArchiveOptions{}})
	for _, f := range decode(t, lines(t, s)) {
		switch f.Commit.Collection {
		case "app.bsky.feed.post":
			posts[shown{"at://" + f.DID + "/app.bsky.feed.post/" + f.Commit.Rkey, f.Commit.CID}] = true
		case "app.bsky.feed.repost":
			var record struct{ Subject struct{ URI, CID string } }
			if f.Commit.Operation == "create" {
				if err := json.Unmarshal(f.Commit.Record, &record); err != nil {
					t.Fatal(err)
				}
				if reposts++; posts[shown{record.Subject.URI, record.Subject.CID}] {
					found++
				}
			}
		}
	}
	if found < reposts/3 || reposts < 200 {
		t.Errorf("%d of %d", found, reposts)
	}
}
