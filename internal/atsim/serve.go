package atsim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// lastPart is the last part of a method's name.
func lastPart(path string) string { return path[strings.LastIndexAny(path, "./")+1:] }

// refuse answers with an error of the protocol.
func refuse(w http.ResponseWriter, status int, name, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": name, "message": message})
}

// answer answers with JSON, and a cursor where there is one.
func answer(w http.ResponseWriter, v map[string]any, cursor string) {
	if cursor != "" {
		v["cursor"] = cursor
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// fail does what a fault of any method does.
func (s *Sim) fail(w http.ResponseWriter, r *http.Request, did, method string) bool {
	now := s.opt.Clock.Now()
	if f, ok := s.hit(FaultRateLimit, did, method); ok {
		w.Header().Set("RateLimit-Limit", "3000")
		w.Header().Set("RateLimit-Remaining", "0")
		w.Header().Set("RateLimit-Reset", strconv.FormatInt(now.Add(f.For).Unix(), 10))
		w.Header().Set("RateLimit-Policy", "3000;w=300")
		refuse(w, http.StatusTooManyRequests, "RateLimitExceeded", "Rate Limit Exceeded")
		return true
	}
	if f, ok := s.hit(FaultRetryAfter, did, method); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.For/time.Second)))
		refuse(w, http.StatusTooManyRequests, "RateLimitExceeded", "Rate Limit Exceeded")
		return true
	}
	if _, ok := s.hit(FaultServerError, did, method); ok {
		refuse(w, http.StatusServiceUnavailable, "UpstreamFailure", "not now")
		return true
	}
	if _, ok := s.hit(FaultRedirect, did, method); ok {
		http.Redirect(w, r, s.inside.origin+"/latest/meta-data", http.StatusFound)
		return true
	}
	if _, ok := s.hit(FaultNotJSON, did, method); ok {
		_, _ = w.Write([]byte("<!doctype html><title>Welcome</title>"))
		return true
	}
	_, slow := s.hit(FaultSlowBody, did, method)
	_, cut := s.hit(FaultCutBody, did, method)
	if slow || cut {
		_, _ = w.Write([]byte(`{"records":[`))
		_ = http.NewResponseController(w).Flush()
		if slow {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	if _, ok := s.hit(FaultLargeBody, did, method); ok {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		return true
	}
	if _, ok := s.hit(FaultEchoSecret, did, method); ok {
		body := make([]byte, 4<<10)
		n, _ := r.Body.Read(body)
		secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + string(body[:n])
		refuse(w, http.StatusForbidden, strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
				return c
			}
			return -1
		}, secret), secret)
		return true
	}
	return false
}

// serveHost answers for an account's server.
func (s *Sim) serveHost(w http.ResponseWriter, r *http.Request, host int) {
	method := lastPart(r.URL.Path)
	s.count(method)
	query := r.URL.Query()
	did := query.Get("did")
	if did == "" {
		did = query.Get("repo")
	}
	if s.fail(w, r, did, method) {
		return
	}
	switch method {
	case "createSession":
		s.createSession(w, r, host)
		return
	case "refreshSession":
		s.refreshSession(w, r, host)
		return
	case "getTimeline":
		s.getTimeline(w, r, host)
		return
	case "getFollows":
		s.getFollows(w, r)
		return
	case "getRepoStatus":
		s.getRepoStatus(w, did, host)
		return
	}
	serve := map[string]func(http.ResponseWriter, *http.Request, *account){"listRecords": s.listRecords, "getRecord": s.getRecord,
		"describeRepo": s.describeRepo, "getLatestCommit": s.getLatestCommit, "getRepo": s.getRepo}[method]
	if serve == nil {
		refuse(w, http.StatusNotImplemented, "MethodNotImplemented", "Method Not Implemented")
		return
	}
	if a := s.here(w, did, method, host); a != nil {
		serve(w, r, a)
	}
}

// here is the account, or nil after an answer that says why it is not here.
func (s *Sim) here(w http.ResponseWriter, did, method string, host int) *account {
	status := ""
	for fault, means := range map[string]string{FaultDeactivated: "deactivated", FaultTakenDown: "takendown", FaultSuspended: "suspended",
		FaultNotFound: "deleted", FaultTombstoned: "deleted"} {
		if f, ok := s.hit(fault, did, method); ok {
			if status = means; fault == FaultTombstoned && !f.Always {
				s.Tombstone(did)
			}
		}
	}
	_, moved := s.hit(FaultMoved, did, method)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[did]
	if a != nil && moved {
		a.host = (a.host + 1) % len(s.hosts)
	}
	switch {
	case a == nil:
		status = "deleted"
	case a.status != "":
		status = a.status
	case a.host != host:
		status = "deactivated" // what a server says after an account has moved away
	}
	switch status {
	case "":
		return a
	case "deactivated":
		refuse(w, http.StatusBadRequest, "RepoDeactivated", "Repo has been deactivated: "+did)
	case "takendown":
		refuse(w, http.StatusBadRequest, "RepoTakendown", "Repo has been taken down: "+did)
	case "suspended":
		refuse(w, http.StatusBadRequest, "RepoSuspended", "Repo has been suspended: "+did)
	default:
		if method == "listRecords" || method == "getRecord" || method == "describeRepo" {
			refuse(w, http.StatusBadRequest, "InvalidRequest", "Could not find repo: "+did)
		} else {
			refuse(w, http.StatusBadRequest, "RepoNotFound", "Could not find repo for DID: "+did)
		}
	}
	return nil
}
