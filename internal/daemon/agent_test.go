package daemon_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
)

// Operators of public servers see who asks, in every request: the subscription and the download of
// the dictionary.
func TestUpstreamsSeeTheUserAgent(t *testing.T) {
	type asked struct{ path, agent string }
	requests := make(chan asked, 100)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case requests <- asked{r.URL.Path, r.UserAgent()}:
		default: // the daemon goes on trying
		}
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	defer upstream.Close()
	cfg := configure(t.TempDir(), "ws"+strings.TrimPrefix(upstream.URL, "http"))
	cfg.Feeds[0].Compress = jetstream.CompressZstd
	d := start(t, cfg)
	defer d.finish(t)
	for missing := map[string]bool{atproto.EventsPath: true, atproto.DictionaryPath: true}; len(missing) > 0; {
		select {
		case got := <-requests:
			if !strings.HasPrefix(got.agent, "tempestd/test (+https://") {
				t.Fatalf("%s was asked for by %q", got.path, got.agent)
			}
			delete(missing, got.path)
		case <-time.After(time.Minute):
			t.Fatalf("not asked for: %v", missing)
		}
	}
}
