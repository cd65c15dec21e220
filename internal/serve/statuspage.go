package serve

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"

	"tempestd/internal/serve/api"
)

// The status page: an HTML shell, a style sheet and a few ES modules. They are the same bytes for
// every client, and fetch all data from the API. They are served without the token: a browser
// cannot send a token with a navigation, the files contain nothing about this daemon (not even its
// version), and the API behind them requires the token as always. The page asks its user for the
// token, keeps it in the tab's sessionStorage and sends it as a header. A cookie or basic
// authentication would be unsafe: the browser adds them also to requests that other sites cause.

//go:embed page
var pageFiles embed.FS

// pagePolicy allows the page to load from and connect to its own server only, and closes every way
// in which a string can become markup or script: the page shows text that comes from upstreams.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageTypes are the content types of the page's files.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// page serves one of the page's files.
func page(name string) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			return api.NotFound(r.URL.Path, "/ is the status page")
		}
		sum := sha256.Sum256(body)
		h := w.Header()
		h.Set("Content-Type", pageTypes[path.Ext(name)])
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// The browser asks each time and gets the file only if it has changed.
		h.Set("Cache-Control", "no-cache")
		h.Set("Etag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return nil
	}
}

// asset serves a file that the page loads.
func asset(w http.ResponseWriter, r *http.Request) error { return page(r.PathValue("file"))(w, r) }
