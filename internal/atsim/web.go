package atsim

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
)

// Origin is where the Sim serves a host that a did:web or a handle names.
func (s *Sim) Origin(host string) string { return s.web.origin + "/" + host }

// document is the document of an account. The caller holds mu.
func (s *Sim) document(a *account) map[string]any {
	return map[string]any{
		"@context":    []string{"https://www.w3.org/ns/did/v1"},
		"id":          a.did,
		"alsoKnownAs": []string{"at://" + a.handle},
		"verificationMethod": []any{map[string]any{"id": a.did + "#atproto", "type": "Multikey", "controller": a.did,
			"publicKeyMultibase": newSigner(s.opt.Seed, a.did, a.generation).public().String()}},
		"service": []any{map[string]any{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": s.hosts[a.host].origin}},
	}
}

// serveDirectory answers for the directory of did:plc.
func (s *Sim) serveDirectory(w http.ResponseWriter, r *http.Request) {
	s.count("plc")
	s.serveDocument(w, r, strings.TrimPrefix(r.URL.Path, "/"))
}

// serveWeb answers for the hosts that did:web and handles name: the path begins with the host.
func (s *Sim) serveWeb(w http.ResponseWriter, r *http.Request) {
	host, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/.well-known/")
	s.count(file)
	switch file {
	case "did.json":
		s.serveDocument(w, r, "did:web:"+host)
	case "atproto-did":
		s.mu.Lock()
		did := s.handles[host]
		s.mu.Unlock()
		if did == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(did + "\n"))
	default:
		http.NotFound(w, r)
	}
}

func (s *Sim) serveDocument(w http.ResponseWriter, r *http.Request, did string) {
	if s.fail(w, r, did, "document") {
		return
	}
	_, tombstoned := s.hit(FaultTombstoned, did, "document")
	_, noServer := s.hit(FaultNoServer, did, "document")
	_, bad := s.hit(FaultBadDocument, did, "document")
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[did]
	switch {
	case a == nil:
		http.Error(w, `{"message":"DID not registered"}`, http.StatusNotFound)
		return
	case a.tombstoned || tombstoned:
		http.Error(w, `{"message":"DID not available"}`, http.StatusGone)
		return
	}
	doc := s.document(a)
	if noServer {
		doc["service"] = []any{}
	}
	if bad {
		doc["id"] = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc)
}

// lookupTXT knows the handles whose first letter is before n; the others have a file on their host.
func (s *Sim) lookupTXT(_ context.Context, name string) ([]string, error) {
	handle := strings.TrimPrefix(name, "_atproto.")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests["txt"]++
	if did := s.handles[handle]; did != "" && handle < "n" {
		return []string{"v=spf1 -all", "did=" + did}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
