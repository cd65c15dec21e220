package serve_test

import (
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pageFiles returns the status page's files by name, read from the source tree.
func pageFiles(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(path.Join("page", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

func TestStatusPageIsServed(t *testing.T) {
	d := start(t, openStore(t))
	types := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	files := pageFiles(t)
	tags := map[string]string{}
	for name, text := range files {
		url := "/page/" + name
		r := d.get(url)
		if r.status != http.StatusOK || r.body != text || r.header.Get("Content-Type") != types[path.Ext(name)] {
			t.Errorf("%s: %d with %d bytes of %s", url, r.status, len(r.body), r.header.Get("Content-Type"))
		}
		policy := r.header.Get("Content-Security-Policy")
		for _, rule := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"} {
			if !slices.Contains(strings.Split(policy, "; "), rule) {
				t.Errorf("%s: the policy %q lacks %q", url, policy, rule)
			}
		}
		if strings.Contains(policy, "unsafe") || r.header.Get("X-Content-Type-Options") != "nosniff" || r.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: headers %v", url, r.header)
		}
		tag := r.header.Get("Etag")
		if other, taken := tags[tag]; taken || tag == "" {
			t.Errorf("%s: the tag %q is that of %s", url, tag, other)
		}
		tags[tag] = name
		if again := d.do("GET", url, "If-None-Match", tag); again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s with its tag: %d with %d bytes, want 304", url, again.status, len(again.body))
		}
		if other := d.do("GET", url, "If-None-Match", `"another"`); other.status != http.StatusOK {
			t.Errorf("%s with another tag: %d", url, other.status)
		}
	}
	if r := d.get("/"); r.body != files["index.html"] || r.header.Get("Content-Security-Policy") == "" {
		t.Errorf("/ is %d with %d bytes", r.status, len(r.body))
	}
	for _, url := range []string{"/page/nothing.js", "/page/", "/page/..%2Fpage.go", "/page/page.css/more"} {
		d.want(d.get(url), http.StatusNotFound, "NoSuchRoute")
	}
	d.want(d.do("POST", "/page/page.css"), http.StatusMethodNotAllowed, "MethodNotAllowed")
	d.want(d.do("POST", "/"), http.StatusMethodNotAllowed, "MethodNotAllowed")
}

// The page loads all of its files from the daemon, and uses every file.
func TestStatusPageRefersToNothingElse(t *testing.T) {
	files := pageFiles(t)
	elsewhere := regexp.MustCompile(`(?i)(?:https?|wss?|ftp|data|blob):[^\s"'` + "`" + `]*|["'(=]\s*//[a-z0-9]|@import|\burl\(|\bimport\(|importScripts|\beval\b|innerHTML|outerHTML|insertAdjacentHTML|document\.write`)
	namespace := "http://www.w3.org/2000/svg"
	reference := regexp.MustCompile(`(?:(?:href|src)="/page/|from "\./|import "\./)([^"]+)"`)
	used := map[string]bool{"index.html": true}
	for name, text := range files {
		for _, found := range elsewhere.FindAllString(text, -1) {
			if found != namespace && found != namespace+";" {
				t.Errorf("%s holds %q", name, found)
			}
		}
		for _, found := range reference.FindAllStringSubmatch(text, -1) {
			used[found[1]] = true
			if _, there := files[found[1]]; !there {
				t.Errorf("%s asks for %s, which is not there", name, found[1])
			}
		}
	}
	for _, attribute := range regexp.MustCompile(`(?:href|src|action|srcset)="[^"]*"`).FindAllString(files["index.html"], -1) {
		if !strings.Contains(attribute, `="/page/`) && !strings.Contains(attribute, `="#`) {
			t.Errorf("index.html holds %s", attribute)
		}
	}
	for name := range files {
		if !used[name] {
			t.Errorf("nothing asks for %s", name)
		}
	}
}

func TestStreamsTellOfTheirReaders(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 3)...)
	openStream(t, store, "quiet")
	d := start(t, store)
	answered := make(chan response, 1)
	go func() { answered <- d.do("GET", "/v1/streams/bluesky/tail?after=1795000000002&block_ms=30000") }()
	d.tailing("bluesky", 1)
	if r := d.get("/v1/streams"); !strings.Contains(r.body, `"readers":1`) || !strings.Contains(r.body, `"readers":0`) {
		t.Errorf("with one reader of one of two streams: %s", r.body)
	}
	if r := d.get("/v1/streams/bluesky"); !strings.Contains(r.body, `"readers":1`) {
		t.Errorf("the stream alone: %s", r.body)
	}
	add(t, stream, numbered(3, 4)...)
	if r := <-answered; r.status != http.StatusOK {
		t.Errorf("the tail: %d", r.status)
	}
	d.tailing("bluesky", 0)
	if r := d.get("/v1/streams/bluesky"); !strings.Contains(r.body, `"readers":0`) {
		t.Errorf("after it: %s", r.body)
	}
}
