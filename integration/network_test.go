package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"tempestd/internal/atsim"
	"tempestd/internal/client"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// network is what is around a simulator: its parts by name, as /_sim/network gives them.
type network map[string]string

func (s *simulator) network() (n network) {
	s.t.Helper()
	resp := s.control("GET", "network")
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// held are the records of a collection that an account's server has, with CIDs by key; nil if it has
// no such account.
func (n network) held(t *testing.T, did, collection string) map[string]string {
	t.Helper()
	for name, origin := range n {
		if !strings.HasPrefix(name, "host") {
			continue
		}
		records, cursor := map[string]string{}, ""
		for {
			var page struct {
				Error   string
				Cursor  string
				Records []struct {
					URI, CID string
					Value    struct{ Subject json.RawMessage }
				}
			}
			query := url.Values{"repo": {did}, "collection": {collection}, "limit": {"100"}, "cursor": {cursor}}
			if err := json.Unmarshal([]byte(get(t, origin+"/xrpc/com.atproto.repo.listRecords?"+query.Encode())), &page); err != nil {
				t.Fatal(err)
			}
			if page.Error != "" {
				break
			}
			for _, r := range page.Records {
				records[r.URI[strings.LastIndex(r.URI, "/")+1:]] = r.CID
				if collection == "app.bsky.graph.follow" && did == n["viewer"] {
					records[r.URI[strings.LastIndex(r.URI, "/")+1:]] = strings.Trim(string(r.Value.Subject), `"`)
				}
			}
			if cursor = page.Cursor; len(page.Records) == 0 {
				return records
			}
		}
	}
	return nil
}

// standing lists the accounts that were never inactive, of those given, in a network of the first n
// contents.
func standing(t *testing.T, dids []string, n int64) (all []string) {
	t.Helper()
	sim, err := jetsim.New(jetsim.Options{Backlog: n, Archive: &jetsim.ArchiveOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough, seen, inactive := errors.New("enough"), int64(0), map[string]bool{}
	err = sim.Follow(ctx, func(line []byte) error {
		if bytes.Contains(line, []byte(`"active":false`)) {
			inactive[string(line[len(`{"did":"`):bytes.Index(line, []byte(`","time_us"`))])] = true
		}
		if seen++; seen == n {
			cancel(enough)
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	for _, did := range dids {
		if !inactive[did] {
			all = append(all, did)
		}
	}
	return all
}

// streamFold is what a stream comes to: CIDs by DID and path. It checks that no record is there twice.
func streamFold(t *testing.T, d *daemon, stream string) (records map[string]string, recovered, unknown int) {
	t.Helper()
	records, seen := map[string]string{}, map[string]bool{}
	for after := "0-0"; ; {
		page, err := d.Tail(t.Context(), stream, after, 0, 1000, messages.ConsumerFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return records, recovered, unknown
		}
		for _, f := range page.Entries {
			after = f.ID.String()
			var e struct {
				DID, Kind string
				Commit    struct{ Operation, Collection, RKey, CID string }
				Repair    *struct{ Time string }
			}
			if err := json.Unmarshal(f.Event, &e); err != nil {
				t.Fatal(err)
			}
			if e.Repair != nil {
				if recovered++; e.Repair.Time == "unknown" {
					unknown++
				}
			}
			path := fmt.Sprintf("%s/%s/%s", e.DID, e.Commit.Collection, e.Commit.RKey)
			switch id := path + " " + e.Commit.CID; {
			case e.Kind != "commit":
			case e.Commit.Operation == "delete":
				delete(records, path)
			case seen[id] && e.Commit.RKey != "self":
				t.Errorf("%s has %s twice", stream, id)
			default:
				seen[id] = true
				records[path] = e.Commit.CID
			}
		}
	}
}

// A daemon is away for longer than the socket remembers, and there is no archive. A feed of some
// accounts is repaired from their servers, a feed that follows an account from its timeline. The
// first comes to what the accounts have; the second has every post.
func TestI2_I4_WhatWasMissedIsRepairedFromTheNetwork(t *testing.T) {
	t.Parallel()
	const posts = "app.bsky.feed.post"
	collections := []string{posts, "app.bsky.feed.like", "app.bsky.feed.repost"}
	sim := simulate(t, 400, "--accounts", "4", "--segment", "500", "--lookback", "3s", "--newer", "all", "--follows", "16")
	net := sim.network()
	var follows []string
	for _, did := range net.held(t, net["viewer"], "app.bsky.graph.follow") {
		follows = append(follows, did)
	}
	if len(follows) != 16 {
		t.Fatalf("the viewer follows %q", follows)
	}
	some := follows[:8]
	list := func(of []string) string { return `["` + strings.Join(of, `", "`) + `"]` }
	d := newDaemon(t, "ws://"+sim.addr, settings{
		"network.plc": quoted(net["plc"]), "network.local": "true",
		"feeds." + feed + ".start":          `"earliest"`,
		"feeds." + feed + ".dids":           list(some),
		"feeds." + feed + ".collections":    list(collections),
		"feeds." + feed + ".repair_sources": `["socket", "accounts"]`,
		"feeds.mine.endpoints":              list([]string{"ws://" + sim.addr}),
		"feeds.mine.backoff":                `["50ms", "100ms", "200ms"]`,
		"feeds.mine.collections":            list(collections),
		"feeds.mine.repair_sources":         `["socket", "timeline"]`,
		"feeds.mine.account":                fmt.Sprintf(`{ identifier = %q, password = %q }`, net["viewer"], atsim.ViewerPassword),
	})
	both := func(holds func(messages.FeedStatus) bool) func() bool {
		return func() bool {
			for _, name := range []string{feed, "mine"} {
				if s, err := d.Feed(t.Context(), name); err != nil || !holds(s) {
					return false
				}
			}
			return true
		}
	}
	sim.produce(2000)
	d.start()
	d.await("daemon.ready")
	eventually(t, "both feeds store events", both(func(s messages.FeedStatus) bool { return s.State == messages.StateLive && s.Stored > 5 }))
	d.stop()
	sim.produce(5000)
	missed := sim.stats().NewestSeq + 4000
	eventually(t, "more is sent than the socket keeps", func() bool { return sim.stats().NewestSeq > missed })
	d.start()
	d.await("daemon.ready")
	rows := map[string]messages.GapStatus{}
	for name, want := range map[string]messages.GapSource{feed: messages.SourceAccounts, "mine": messages.SourceTimeline} {
		eventually(t, "the gap of "+name+" is repaired", func() bool {
			l, err := d.Gaps(t.Context(), client.GapQuery{Feed: name})
			if err != nil || len(l.Gaps) != 1 {
				return false
			}
			rows[name] = l.Gaps[0]
			return l.Gaps[0].State == messages.GapRepaired
		})
		if row := rows[name]; row.Source != want || row.Recovered == 0 {
			t.Errorf("%s: %+v", name, row)
		}
	}
	for name, words := range map[string][]string{feed: {"versions that were overtaken", "events of accounts and identities", "8 accounts"}, "mine": {"as far as the app view shows", "without likes"}} {
		for _, w := range words {
			if !strings.Contains(rows[name].Missing, w) {
				t.Errorf("%s misses %q, want %q", name, rows[name].Missing, w)
			}
		}
	}
	sim.stopProducing()
	stood := standing(t, follows, sim.stats().Contents)
	var lacks []string
	compare := func() bool {
		lacks = nil
		got, _, _ := streamFold(t, d, feed)
		mine, _, _ := streamFold(t, d, "mine")
		for _, did := range stood {
			for _, c := range collections {
				held := net.held(t, did, c)
				for key, cid := range held {
					path := did + "/" + c + "/" + key
					if inSome := strings.Contains(strings.Join(some, " "), did); inSome && got[path] != cid {
						lacks = append(lacks, feed+" "+path)
					}
					if c == posts && mine[path] != cid {
						lacks = append(lacks, "mine "+path)
					}
				}
				for path := range got {
					if key, of := strings.CutPrefix(path, did+"/"+c+"/"); of && held[key] == "" {
						lacks = append(lacks, "the delete of "+path)
					}
				}
			}
		}
		return len(lacks) == 0
	}
	eventually(t, "both feeds have everything", compare)
	_, recovered, unknown := streamFold(t, d, feed)
	_, more, _ := streamFold(t, d, "mine")
	t.Logf("%d of %d accounts were always active; %d entries recovered from the servers, %d of them deletes of an unknown time, and %d from the timeline\n%s\n%s",
		len(stood), len(follows), recovered, unknown, more, rows[feed].Missing, rows["mine"].Missing)
}
