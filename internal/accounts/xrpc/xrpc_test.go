package xrpc_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient calls a server that answers as handler says.
func newClient(t *testing.T, handler http.HandlerFunc) (*xrpc.Client, string) {
	server := httptest.NewServer(handler)
	client := guard.New(guard.Policy{Local: func(netip.AddrPort) bool { return true }})
	t.Cleanup(func() {
		client.CloseIdleConnections()
		server.Close()
	})
	clock := clockwork.NewRealClock()
	return xrpc.New(xrpc.Options{HTTP: client, Clock: clock, UserAgent: "tempestd/1 (+https://example)", Pace: pace.New(pace.Options{Clock: clock, Start: math.MaxFloat64})}), server.URL
}

// A host's words in an error are short, one line, and nothing that a terminal obeys.
func TestErrorsAreBounded(t *testing.T) {
	for name, row := range map[string]struct{ body, want string }{
		"of the protocol":  {`{"error":"InvalidRequest","message":"Could not find repo: did:plc:x"}`, "400 InvalidRequest: Could not find repo: did:plc:x"},
		"long":             {`{"error":"InvalidRequest","message":"` + strings.Repeat("x", 5000) + `"}`, "400 InvalidRequest: " + strings.Repeat("x", 200)},
		"controls":         {`{"error":"A\u001b[2J","message":"a\nb\u001b[2Jc\u202e"}`, "400: a b[2Jc"},
		"a long name":      {`{"error":"` + strings.Repeat("x", 65) + `"}`, "400"},
		"not the protocol": {`<html>`, "400"},
		"nothing":          {``, "400"},
	} {
		client, url := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, row.body)
		})
		_, err := client.Do(t.Context(), xrpc.Request{URL: url})
		if want := strings.TrimPrefix(url, "http://") + " answers " + row.want; fmt.Sprint(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// A request with a secret is sent once, to its host, and the answer's words are not repeated.
func TestI10_SecretsGoToOneHostOnce(t *testing.T) {
	for name, r := range map[string]xrpc.Request{"a token": {Bearer: "secret"}, "a password": {Post: true, Body: []byte(`{"password":"secret"}`)}} {
		for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusBadRequest} {
			var n atomic.Int32
			client, url := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				w.Header().Set("Location", "/secret")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"error":"secret","message":"secret"}`)
			})
			r.URL = url
			_, err := client.Do(t.Context(), r)
			if err == nil || strings.Contains(err.Error(), "secret") || n.Load() != 1 {
				t.Errorf("%s, %d: %v after %d requests", name, status, err, n.Load())
			}
		}
	}
}

func TestRequests(t *testing.T) {
	client, url := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %q %q", r.Method, r.URL, r.UserAgent(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body)
	})
	for want, r := range map[string]xrpc.Request{
		`GET /xrpc/a.b?did=did%3Aplc%3Ax tempestd/1 (+https://example)  "" ""`:  {URL: xrpc.URL(url, "a.b", map[string][]string{"did": {"did:plc:x"}})},
		`POST /xrpc/a.b tempestd/1 (+https://example) Bearer x "" ""`:           {URL: xrpc.URL(url, "a.b", nil), Post: true, Bearer: "x"},
		`POST /xrpc/a.b tempestd/1 (+https://example)  "application/json" "{}"`: {URL: xrpc.URL(url, "a.b", nil), Post: true, Body: []byte("{}")},
	} {
		if got, err := client.Do(t.Context(), r); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
}

func TestCursors(t *testing.T) {
	var c xrpc.Cursors
	for i, row := range []struct {
		cursor string
		fresh  bool
	}{{"a", true}, {"b", true}, {"a", false}, {"c", true}, {"b", false}, {strings.Repeat("x", 5000), false}} {
		if c.Fresh(row.cursor) != row.fresh {
			t.Errorf("the cursor %d is fresh: %v", i, !row.fresh)
		}
	}
}

// A body is taken up to its limit, and one byte more is too much.
func TestI5_BodiesAreBounded(t *testing.T) {
	client, url := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1000)) })
	for limit, want := range map[int64]error{1000: nil, 999: xrpc.ErrTooLarge, 1: xrpc.ErrTooLarge} {
		body, err := client.Do(t.Context(), xrpc.Request{URL: url, Limit: limit})
		if !errors.Is(err, want) || int64(len(body)) > limit {
			t.Errorf("up to %d bytes: %d, %v", limit, len(body), err)
		}
	}
}
