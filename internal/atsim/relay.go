package atsim

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// serveRelay answers for the relay.
func (s *Sim) serveRelay(w http.ResponseWriter, r *http.Request) {
	method := lastPart(r.URL.Path)
	s.count(method)
	if s.fail(w, r, "", method) {
		return
	}
	if method != "listReposByCollection" {
		refuse(w, http.StatusNotImplemented, "MethodNotImplemented", "")
		return
	}
	query := r.URL.Query()
	collection, cursor := query.Get("collection"), query.Get("cursor")
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = 500
	}
	if limit < 1 || limit > 2000 || collection == "" {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "limit must be 1 to 2000")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repos, next := []any{}, ""
	for _, did := range slices.Sorted(maps.Keys(s.accounts)) {
		a := s.accounts[did]
		if did <= cursor || a.status != "" || len(a.sorted(collection)) == 0 {
			continue
		}
		if len(repos) == limit {
			next = repos[limit-1].(map[string]any)["did"].(string)
			break
		}
		repos = append(repos, map[string]any{"did": did})
	}
	answer(w, map[string]any{"repos": repos}, next)
}
