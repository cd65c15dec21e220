package integration_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// conformance is clients/conformance.json: the tests of the suite that run, and the reasons why the
// others do not. A name that ends with * stands for all names with that prefix.
type conformance struct {
	Run []string
	Not []struct {
		Why   string
		Tests []string
	}
}

// left returns the reason why a test does not run, or "" if the list does not name it. It deletes
// the matching name from names.
func (c *conformance) left(test string, names map[string]bool) string {
	for _, not := range c.Not {
		for _, name := range not.Tests {
			if prefix, all := strings.CutSuffix(name, "*"); test == name || all && strings.HasPrefix(test, prefix) {
				delete(names, name)
				return not.Why
			}
		}
	}
	return ""
}

// This test runs the published conformance tests of Durable Streams that only read from a server.
// They create their streams by the protocol's writes, which tempestd refuses. writeSide answers
// those by appending to the store that tempestd serves. All reads come unmodified from the daemon.
func TestDurableStreamsConformance(t *testing.T) {
	t.Parallel()
	dir, err := clients()
	if err != nil {
		t.Fatal(err)
	}
	var list conformance
	readJSON(t, "clients/conformance.json", &list)
	server := valkeytest.Start(t, valkeytest.Options{})
	d := newDaemon(t, simulate(t, 0).url(), onValkey(server))
	d.startLive()
	front := httptest.NewServer(newWriteSide(t, d, server))
	defer front.Close()

	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	escaped := make([]string, len(list.Run))
	for i, name := range list.Run {
		escaped[i] = regexp.QuoteMeta(name)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	p := startBinary(t, node, []string{"CONFORMANCE_URL=" + front.URL}, filepath.Join(dir, "node_modules/vitest/vitest.mjs"), "run", "--root", dir,
		"-t", "^("+strings.Join(escaped, "|")+")$", "--reporter=json", "--outputFile="+report, "--no-color")
	p.wait()
	var result struct {
		TestResults []struct {
			AssertionResults []struct {
				FullName, Status string
				FailureMessages  []string
			}
		}
	}
	readJSON(t, report, &result)
	unmet := map[string]bool{}
	for _, name := range list.Run {
		unmet[name] = true
	}
	for _, not := range list.Not {
		for _, name := range not.Tests {
			unmet[name] = true
		}
	}
	for _, file := range result.TestResults {
		for _, test := range file.AssertionResults {
			switch {
			case slices.Contains(list.Run, test.FullName):
				if test.Status != "passed" {
					t.Errorf("%q: %s\n%s", test.FullName, test.Status, strings.Join(test.FailureMessages, "\n"))
				}
				delete(unmet, test.FullName)
			case list.left(test.FullName, unmet) == "":
				t.Errorf("%q is neither run nor is it said why not", test.FullName)
			}
		}
	}
	for name := range unmet {
		t.Errorf("%q is not in the suite", name)
	}
	t.Logf("%d tests passed", len(list.Run))
}

// writeSide answers the protocol's writes by appending to the daemon's store, and passes reads to
// the daemon.
type writeSide struct {
	t     *testing.T
	store *valkey.Store
	reads *httputil.ReverseProxy
	base  string // the base URL of the daemon's streams

	mu      sync.Mutex
	streams map[string]*written
	deleted int
}

// written is a stream that a test has created.
type written struct {
	persistence.Stream
	contentType string
}

func newWriteSide(t *testing.T, d *daemon, server *valkeytest.Server) *writeSide {
	t.Helper()
	store, err := valkey.Open(t.Context(), valkey.Options{Addresses: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	s := &writeSide{t: t, store: store, base: "http://" + d.addr + "/streams/", streams: map[string]*written{}}
	target, err := url.Parse("http://" + d.addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	s.reads = &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusBadGateway) // the client has left
	}, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.URL.Path, r.Out.URL.RawPath = "/streams/"+s.name(r.In.URL.Path), ""
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		store.Close()
	})
	return s
}

// name returns the stream of a URL's path. A stream that is created after a delete on the same path
// has another name.
func (s *writeSide) name(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream := s.streams[path]; stream != nil {
		return stream.Name()
	}
	return s.newName(path)
}

func (s *writeSide) newName(path string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(s.deleted) + path))
	return "c" + hex.EncodeToString(sum[:16])
}

func (s *writeSide) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.reads.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	status, err := s.write(w, r, body)
	if err != nil {
		s.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
}

// write executes a write.
func (s *writeSide) write(w http.ResponseWriter, r *http.Request, body []byte) (status int, err error) {
	stream, path, closing := s.streams[r.URL.Path], r.URL.Path, r.Header.Get("Stream-Closed") == "true"
	switch {
	case r.Method == http.MethodPut && stream == nil:
		stream = &written{contentType: r.Header.Get("Content-Type")}
		if stream.Stream, err = s.open(r.Context(), s.newName(path)); err != nil {
			return 0, err
		}
		s.streams[path] = stream
		w.Header().Set("Location", "http://"+r.Host+path)
		status = http.StatusCreated
	case r.Method == http.MethodPut && stream.contentType == r.Header.Get("Content-Type"):
		return http.StatusOK, nil
	case r.Method == http.MethodPut:
		return http.StatusConflict, nil
	case stream == nil:
		return http.StatusNotFound, nil
	case r.Method == http.MethodDelete:
		delete(s.streams, path)
		s.deleted++
		return http.StatusNoContent, nil
	case len(body) == 0 && !closing:
		return http.StatusBadRequest, nil
	default:
		status = http.StatusNoContent
	}
	err = stream.append(r.Context(), body)
	if errors.Is(err, persistence.ErrStreamClosed) {
		w.Header().Set("Stream-Closed", "true")
		return http.StatusConflict, nil
	}
	if err == nil && closing {
		err = stream.Close(r.Context(), "the writer said so")
		w.Header().Set("Stream-Closed", "true")
	}
	if err != nil {
		return 0, err
	}
	w.Header().Set("Content-Type", stream.contentType)
	head, err := http.Head(s.base + stream.Name())
	if err == nil {
		head.Body.Close()
		w.Header().Set("Stream-Next-Offset", head.Header.Get("Stream-Next-Offset"))
	}
	return status, err
}

func (s *writeSide) open(ctx context.Context, name string) (persistence.Stream, error) {
	lease, err := s.store.Acquire(ctx, name, messages.Node{ID: "conformance", Name: "conformance"}, time.Hour)
	if err != nil {
		return nil, err
	}
	return s.store.OpenStream(ctx, name, persistence.StreamOptions{Lease: lease})
}

// append appends the messages of a body: each element of an array, any other JSON value as one
// message, and a body that is no JSON as a string.
func (s *written) append(ctx context.Context, body []byte) error {
	var values []json.RawMessage
	switch {
	case len(body) == 0:
		return nil
	case !strings.HasPrefix(s.contentType, "application/json"):
		text, _ := json.Marshal(string(body)) // a string always has a JSON form
		values = append(values, text)
	case json.Unmarshal(body, &values) != nil:
		values = append(values[:0], bytes.TrimSpace(body))
	}
	var batch messages.Batch
	for _, v := range values {
		batch.Events = append(batch.Events, messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(v)), Kind: messages.KindCommit, TimeUS: time.Now().UnixMicro()})
		batch.Buf = append(batch.Buf, v...)
	}
	_, err := s.Append(ctx, &batch, messages.Checkpoint{})
	return err
}
