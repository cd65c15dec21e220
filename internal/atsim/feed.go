package atsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	postCollection   = "app.bsky.feed.post"
	repostCollection = "app.bsky.feed.repost"
	followCollection = "app.bsky.graph.follow"

	timeLayout = "2006-01-02T15:04:05.000Z"
)

// shown is a post or a repost that timelines show.
type shown struct {
	did, collection, rkey string
	at                    time.Time
}

// show adds a record to the timelines. The caller holds mu.
func (s *Sim) show(e Event) {
	if e.Collection != postCollection && e.Collection != repostCollection {
		return
	}
	if _, shown := s.indexed[uri(e.DID, e.Collection, e.RKey)]; shown {
		return // it comes again when the Jetstream has crashed
	}
	at := e.Time
	if at.IsZero() {
		at = s.opt.Clock.Now().UTC()
	}
	s.feed = append(s.feed, shown{e.DID, e.Collection, e.RKey, at})
	s.indexed[uri(e.DID, e.Collection, e.RKey)] = at
}

// follows are the accounts that an account follows, by the keys of the follows, the newest first.
// The caller holds mu.
func (a *account) follows() []string {
	var dids []string
	keys := a.sorted(followCollection)
	for i := len(keys) - 1; i >= 0; i-- {
		var follow struct{ Subject string }
		if json.Unmarshal(a.records[followCollection+"/"+keys[i]].json(), &follow) == nil {
			dids = append(dids, follow.Subject)
		}
	}
	return dids
}

func (s *Sim) getFollows(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > 100 {
		limit = 50
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[query.Get("actor")]
	if a == nil {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "Profile not found")
		return
	}
	all := a.follows()
	from, _ := strconv.Atoi(query.Get("cursor"))
	from = min(max(from, 0), len(all))
	to := min(from+limit, len(all))
	follows := []any{}
	for _, did := range all[from:to] {
		follows = append(follows, map[string]any{"did": did, "handle": s.account(did).handle})
	}
	cursor := ""
	if to < len(all) {
		cursor = strconv.Itoa(to)
	}
	answer(w, map[string]any{"follows": follows}, cursor)
}

// place is the cursor of the nth of what is shown: its time is for people, its number finds it.
func (s *Sim) place(n int) string {
	return s.feed[n].at.Format(timeLayout) + "::" + strconv.Itoa(n)
}

// number is the number in a cursor, or what is given for an empty one; -1 for a malformed one.
func number(cursor string, empty int) int {
	if cursor == "" {
		return empty
	}
	_, text, _ := strings.Cut(cursor, "::")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func (s *Sim) getTimeline(w http.ResponseWriter, r *http.Request, host int) {
	viewer := s.whose(w, r, "getTimeline", host)
	if viewer == nil {
		return
	}
	hit := func(name string) bool { _, ok := s.hit(name, viewer.did, "getTimeline"); return ok }
	old, early, empty, repeats, plain := hit(FaultOldTimeline), hit(FaultEarlyEnd), hit(FaultEmptyPage), hit(FaultRepeatedCursor), hit(FaultPlainRepost)
	query := r.URL.Query()
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = 50
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from, since := number(query.Get("cursor"), len(s.feed)), number(query.Get("since"), -2)
	if old {
		since = -2
	}
	if limit < 1 || limit > 100 || from < 0 || since == -1 {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "Malformed cursor, since or limit")
		return
	}
	followed := map[string]bool{viewer.did: true}
	for _, did := range viewer.follows() {
		followed[did] = true
	}
	items, cursor, start := []any{}, "", ""
	n := min(from, len(s.feed)) - 1
	for ; n > since && n >= 0 && len(items) < limit && !empty; n-- {
		item := s.item(s.feed[n], followed, plain)
		if item == nil {
			continue
		}
		if items = append(items, item); start == "" {
			start = s.place(n)
		}
		cursor = s.place(n)
	}
	switch {
	case early:
		cursor = ""
	case repeats && query.Get("cursor") != "":
		cursor = query.Get("cursor")
	case empty && n >= 0:
		cursor = fmt.Sprintf("%d::%d", s.requests["getTimeline"], from) // another one for the same place
	case since >= 0 && n <= since:
		cursor = query.Get("since")
	case n < 0:
		cursor = ""
	}
	v := map[string]any{"feed": items}
	if !old && start != "" {
		v["startCursor"] = start
	}
	if cursor != "" {
		v["cursor"] = cursor
	}
	s.write(w, v)
}

// item is how a timeline shows something, nil for not at all.
func (s *Sim) item(it shown, followed map[string]bool, plain bool) any {
	a := s.accounts[it.did]
	r, ok := a.records[it.collection+"/"+it.rkey]
	if !followed[it.did] || !ok || a.status != "" {
		return nil
	}
	at := it.at.UTC().Format(timeLayout)
	if it.collection == postCollection {
		return map[string]any{"post": s.post(a, it.rkey, r, at)}
	}
	var repost struct{ Subject struct{ URI string } }
	if json.Unmarshal(r.json(), &repost) != nil {
		return nil
	}
	did, path, _ := strings.Cut(strings.TrimPrefix(repost.Subject.URI, "at://"), "/")
	author := s.accounts[did]
	if author == nil || author.status != "" {
		return nil
	}
	post, ok := author.records[path]
	if !ok {
		return nil
	}
	reason := map[string]any{"$type": "app.bsky.feed.defs#reasonRepost", "by": map[string]any{"did": it.did, "handle": a.handle}, "indexedAt": at}
	if !plain {
		reason["uri"], reason["cid"] = uri(it.did, it.collection, it.rkey), r.cid.String()
	}
	_, rkey, _ := strings.Cut(path, "/")
	indexed := s.indexed[uri(did, postCollection, rkey)].UTC().Format(timeLayout)
	return map[string]any{"post": s.post(author, rkey, post, indexed), "reason": reason}
}

func (s *Sim) post(a *account, rkey string, r block, at string) map[string]any {
	return map[string]any{"uri": uri(a.did, postCollection, rkey), "cid": r.cid.String(), "record": r.odd(), "indexedAt": at,
		"author": map[string]any{"did": a.did, "handle": a.handle, "displayName": fmt.Sprint(a.host)}, "likeCount": 3}
}
