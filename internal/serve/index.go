package serve

import (
	"io"
	"net/http"
)

// indexPage lists what is served, for whoever opens the address in a browser.
const indexPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>tempestd</title>
<h1>tempestd</h1>
<ul>
<li><a href="/v1/feeds">/v1/feeds</a>, /v1/feeds/{feed}: how the feeds are
<li>POST /v1/feeds/{feed}/reconnect, pause, resume
<li><a href="/v1/streams">/v1/streams</a>, /v1/streams/{stream}: what is stored
<li>/v1/streams/{stream}/frames?from=start&amp;to=end&amp;limit=100: read
<li>/v1/streams/{stream}/tail?after=0-0&amp;block_ms=30000&amp;limit=100: wait for what comes next
<li><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>, <a href="/metrics">/metrics</a>
</ul>
`

func index(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'")
	_, _ = io.WriteString(w, indexPage)
	return nil
}
