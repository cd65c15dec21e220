package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/internal/serve"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// openFiles opens a store in a directory, with one stream.
func openFiles(t *testing.T) *embedded.Store {
	t.Helper()
	store, err := embedded.Open(t.Context(), filepath.Join(t.TempDir(), "store"), embedded.Options{MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.OpenStream(t.Context(), "bluesky", persistence.StreamOptions{}); err != nil {
		t.Fatal(err)
	}
	return store
}

// noFiles is a store that has no files in this daemon.
type noFiles struct{ persistence.Store }

func TestVerifyAndSnapshotOverHTTP(t *testing.T) {
	t.Parallel()
	store := openFiles(t)
	d := start(t, store, func(o *serve.Options) { o.Token = "hunter2" })
	post := func(ctx context.Context, path, token string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for path, want := range map[string]int{
		"/v1/store/verify": 200, "/v1/streams/bluesky/verify": 200, "/v1/streams/nowhere/verify": 404,
		"/v1/store/verify?rate=0": 400, "/v1/store/verify?frob=1": 400, "/v1/store/snapshot?frob=1": 400,
	} {
		resp := post(t.Context(), path, "hunter2")
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
		if want == 200 {
			var last struct{ Verified *persistence.Verified }
			lines := bufio.NewScanner(resp.Body)
			for lines.Scan() {
				if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
					t.Error(err)
				}
			}
			if last.Verified == nil || last.Verified.Streams != 1 || last.Verified.Damaged != 0 {
				t.Errorf("%s: %+v", path, last.Verified)
			}
		}
		if resp := post(t.Context(), strings.Split(path, "?")[0], ""); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without the token: %s", path, resp.Status)
		}
	}

	// A snapshot lasts as long as its request. The request ends when the server stops.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := post(ctx, "/v1/store/snapshot", "hunter2")
	var line struct{ Snapshot persistence.Snapshot }
	lines := bufio.NewReader(resp.Body)
	text, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &line)
	}
	if err != nil || len(line.Snapshot.Streams) != 1 || len(line.Snapshot.Files) == 0 || line.Snapshot.Dir == "" {
		t.Errorf("%v: %s", err, text)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if rest, err := lines.ReadBytes('\n'); err == nil {
		t.Errorf("after the stop came %s", rest)
	}
}

func TestAStoreInAServerHasNoFiles(t *testing.T) {
	t.Parallel()
	d := start(t, noFiles{openFiles(t)})
	for _, path := range []string{"/v1/store/verify", "/v1/streams/bluesky/verify", "/v1/store/snapshot"} {
		resp, err := d.http.Post("http://"+d.addr+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Error, Message string }
		err = json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusNotFound || body.Error != "NoFiles" || !strings.Contains(body.Message, "the server's own means") {
			t.Errorf("%s: %s %+v %v", path, resp.Status, body, err)
		}
	}
}
