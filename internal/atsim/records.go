package atsim

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const endless = 100_000 // records that the fault endless-list makes up before its keys run out

func (s *Sim) getLatestCommit(w http.ResponseWriter, _ *http.Request, a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := s.repository(a)[0]
	answer(w, map[string]any{"cid": root.cid.String(), "rev": a.rev}, "")
}

func (s *Sim) getRepoStatus(w http.ResponseWriter, did string, host int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[did]
	if a == nil || a.host != host {
		refuse(w, http.StatusBadRequest, "RepoNotFound", "Could not find repo for DID: "+did)
		return
	}
	v := map[string]any{"did": did, "active": a.status == ""}
	if a.status != "" {
		v["status"] = a.status
	} else if a.rev != "" {
		v["rev"] = a.rev
	}
	answer(w, v, "")
}

func (s *Sim) describeRepo(w http.ResponseWriter, _ *http.Request, a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.sorted("")
	answer(w, map[string]any{"handle": a.handle, "did": a.did, "didDoc": s.document(a), "collections": slices.Sorted(maps.Keys(a.keys)), "handleIsCorrect": true}, "")
}

func uri(did, collection, rkey string) string { return "at://" + did + "/" + collection + "/" + rkey }

// plain are the escapes that servers in another language do not write.
var plain = map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&", `\u2028`: "\u2028"}

// odd is the JSON of a record as another server writes it: without the escapes.
func (r block) odd() json.RawMessage {
	text := r.json()
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		if p, ok := plain[string(text[i:min(i+6, len(text))])]; ok {
			out = append(out, p...)
			i += 5
			continue
		}
		out = append(out, text[i], text[i+1]) // it may be an escaped backslash
		i++
	}
	return out
}

func (s *Sim) getRecord(w http.ResponseWriter, r *http.Request, a *account) {
	query := r.URL.Query()
	collection, rkey := query.Get("collection"), query.Get("rkey")
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := a.records[collection+"/"+rkey]
	if !ok {
		refuse(w, http.StatusBadRequest, "RecordNotFound", "Could not locate record: "+uri(a.did, collection, rkey))
		return
	}
	s.write(w, map[string]any{"uri": uri(a.did, collection, rkey), "cid": found.cid.String(), "value": found.odd()})
}

// write answers without Go's escapes, as servers of another language do.
func (s *Sim) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func (s *Sim) listRecords(w http.ResponseWriter, r *http.Request, a *account) {
	query := r.URL.Query()
	collection, cursor := query.Get("collection"), query.Get("cursor")
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = 50
	}
	if limit < 1 || limit > 100 || collection == "" {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "limit must be 1 to 100")
		return
	}
	if _, ok := s.hit(FaultEndlessList, a.did, "listRecords"); ok {
		s.endlessList(w, a, collection, cursor, limit)
		return
	}
	hit := func(name string) bool { _, ok := s.hit(name, a.did, "listRecords"); return ok }
	empty, repeats, early := hit(FaultEmptyPage), hit(FaultRepeatedCursor), hit(FaultEarlyEnd)
	wrong, float, foreign := hit(FaultWrongCID), hit(FaultFloat), hit(FaultForeignPath)
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Clone(a.sorted(collection))
	slices.Reverse(keys)
	if query.Get("reverse") == "true" {
		slices.Reverse(keys)
	}
	if cursor != "" {
		keys = keys[slices.IndexFunc(append(keys, ""), func(k string) bool { return k == "" || k < strings.TrimRight(cursor, "~") }):]
	}
	page := keys[:min(limit, len(keys))]
	if empty {
		// The same place, under another name.
		s.write(w, map[string]any{"records": []any{}, "cursor": next(cursor, keys)})
		return
	}
	records := []any{}
	for _, key := range page {
		found := a.records[collection+"/"+key]
		v := map[string]any{"uri": uri(a.did, collection, key), "cid": found.cid.String(), "value": found.odd()}
		switch {
		case wrong:
			v["value"], wrong = json.RawMessage(`{"$type":"other"}`), false
		case float:
			v["value"], float = json.RawMessage(`{"n":1.5}`), false
		case foreign:
			v["uri"], foreign = uri("did:plc:ewvi7nxzyoun6zhxrhs64oiz", collection, key), false
		}
		records = append(records, v)
	}
	v := map[string]any{"records": records}
	if early {
		v["records"] = records[:min(len(records), 9)]
	} else if len(page) > 0 { // as real servers do, whether or not there is more
		v["cursor"] = page[len(page)-1]
	}
	if repeats && cursor != "" {
		v["cursor"] = cursor
	}
	s.write(w, v)
}

// next is another cursor for the place of one.
func next(cursor string, keys []string) string {
	if cursor != "" {
		return cursor + "~"
	}
	if len(keys) == 0 {
		return "~"
	}
	return keys[0] + "zz" // a key that sorts before all of the list
}

// endlessList makes up records: each page is full and has a cursor.
func (s *Sim) endlessList(w http.ResponseWriter, a *account, collection, cursor string, limit int) {
	from, _ := strconv.Atoi(cursor)
	records := []any{}
	for i := from; i < from+limit; i++ {
		b := encode(map[string]any{"$type": collection, "n": i})
		records = append(records, map[string]any{"uri": uri(a.did, collection, tid(uint64(endless<<40-i))), "cid": b.cid.String(), "value": b.odd()})
	}
	s.write(w, map[string]any{"records": records, "cursor": strconv.Itoa(from + limit)})
}
