package serve

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"
)

// The status page: a shell of HTML, a style sheet and a few ES modules, the same bytes for everyone who asks, which fetch everything
// that they show from the API. That is why they are served without the token: a browser cannot send one with a navigation, they hold nothing of
// this daemon, not even its version, and the API behind them asks for the token as ever. The page takes it from its user, keeps it in the
// tab's sessionStorage and sends it as a header; a cookie or Basic auth would be sent by the browser itself, with what other sites make it ask for.

//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load and ask nothing but its own server, and closes every way in which a string could become markup or script: what
// upstreams send is shown on it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageTypes are the kinds of files that the page is made of.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// page serves one of the page's files.
func page(name string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			return &apiError{status: http.StatusNotFound, name: nameNoSuchRoute, message: "nothing is served at " + quote(r.URL.Path) + "; / is the status page"}
		}
		sum := sha256.Sum256(body)
		h := w.Header()
		h.Set("Content-Type", pageTypes[path.Ext(name)])
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // asked for each time, and sent when it is another
		h.Set("Etag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return nil
	}
}

// asset serves a file that the page asks for.
func asset(w http.ResponseWriter, r *http.Request) error { return page(r.PathValue("file"))(w, r) }
