package integration_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"tempestd/internal/client"
	"tempestd/messages"
)

// appPage is a page that uses a daemon from another origin. Each of its functions returns the
// result of its attempt.
const appPage = `<!doctype html><meta charset="utf-8"><title>app</title><script>
	const asJSON = { "Content-Type": "application/json" };
	const patience = () => AbortSignal.timeout(30_000);
	async function ask(url, options = {}) {
		try {
			const response = await fetch(url, { signal: patience(), ...options });
			const body = response.status === 202 ? "" : await response.json();
			return response.status + " " + (body.error ?? "");
		} catch (error) {
			return error.name; // TypeError is all that a page learns of what its browser keeps from it
		}
	}
	// The names of the headers that the page sees of a response.
	const headers = (url, options) => fetch(url, options).then((response) => response.body.cancel().then(() => [...response.headers.keys()]));
	// The first event of an EventSource, or of a websocket, or that there is none.
	const events = (url) => new Promise((done) => {
		const source = new EventSource(url);
		source.onmessage = (event) => { done(typeof JSON.parse(event.data).kind); source.close(); };
		source.onerror = () => { done("error"); source.close(); };
	});
	const socket = (url, protocols) => new Promise((done) => {
		const socket = new WebSocket(url, protocols);
		socket.onmessage = (event) => { done(socket.protocol + " " + typeof JSON.parse(event.data)); socket.close(); };
		socket.onerror = () => done("error");
	});
	async function together(of) {
		const names = Object.keys(of), came = await Promise.all(Object.values(of));
		return Object.fromEntries(names.map((name, i) => [name, came[i]]));
	}
</script><script type="module">
	import { stream } from "/client.js";
	// The first event, and from where to go on, as the client of Durable Streams gives them.
	globalThis.follow = async (options) => {
		const session = await stream({ offset: "-1", warnOnHttp: false, ...options });
		return new Promise((done) => session.subscribeJson(({ items, offset }) => {
			if (items.length === 0) return;
			done(typeof items[0].kind + " " + typeof offset);
			session.cancel();
		}));
	};
</script>`

// serveApp serves the page and the npm client under their own origin.
func serveApp(t *testing.T) (origin string) {
	t.Helper()
	dir, err := clients()
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/client.js" {
			http.ServeFile(w, r, filepath.Join(dir, "node_modules/@durable-streams/client/dist/index.js"))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, appPage)
	}))
	t.Cleanup(app.Close)
	return app.URL
}

// try evaluates an expression of names and promises on the page, and compares the results.
func (tab *tab) try(at, expression string, want map[string]string) {
	tab.t.Helper()
	tab.await("the page is there", `typeof together === "function" && typeof follow === "function"`)
	var got map[string]string
	tab.eval(fmt.Sprintf(`((at) => together({%s}))(%q)`, expression, at), &got)
	if !reflect.DeepEqual(got, want) {
		tab.t.Errorf("got %v, want %v", got, want)
	}
}

// A page in Chromium can read if its origin is allowed, and with a token it can also change
// something. Otherwise the browser hides every answer from the page, and no request of the page has
// an effect.
func TestPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	allowed, other := serveApp(t), serveApp(t)
	s := simulate(t, 50)
	b := browse(t)
	origins := settings{"http.allowed_origins": `[` + quoted(allowed) + `]`}

	d := newDaemon(t, s.url(), origins)
	d.startLive()
	d.awaitStored(20)
	if _, _, err := d.CreateConsumer(t.Context(), feed, "indexer", "0-0", messages.ConsumerFilter{}); err != nil {
		t.Fatal(err)
	}
	const without = `
		status: ask("http://" + at + "/v1/feeds"), tail: ask("http://" + at + "/v1/streams/sky/tail?after=0-0"), durable: ask("http://" + at + "/streams/sky?offset=-1"),
		refusal: ask("http://" + at + "/streams/sky?offset=bad", { headers: { "If-None-Match": '"a"' } }), events: events("http://" + at + "/v1/streams/sky/tail?live=sse&after=0-0"),
		v1: socket("ws://" + at + "/subscribe?cursor=0"), v2: socket("ws://" + at + "/xrpc/network.bsky.jetstream.subscribeEvents?cursor=0", ["xrpc.v1.json"]),
		change: ask("http://" + at + "/v1/feeds/sky/reconnect", { method: "POST" }), next: ask("http://" + at + "/v1/streams/sky/consumers/indexer/next"),
		unseen: fetch("http://" + at + "/v1/feeds/sky/reconnect", { method: "POST", mode: "no-cors" }).then((response) => response.type),
		leased: fetch("http://" + at + "/v1/streams/sky/consumers/indexer/next", { mode: "no-cors" }).then((response) => response.type)`
	epoch := d.status().Epoch
	b.open(t, allowed).try(d.addr, without, map[string]string{"status": "200 ", "tail": "200 ", "durable": "200 ", "refusal": "400 InvalidRequest", "events": "string", "v1": " object",
		"v2": "xrpc.v1.json object", "change": "403 Forbidden", "next": "403 Forbidden", "unseen": "opaque", "leased": "opaque"})
	b.open(t, other).try(d.addr, without, map[string]string{"status": "TypeError", "tail": "TypeError", "durable": "TypeError", "refusal": "TypeError", "events": "error", "v1": "error",
		"v2": "error", "change": "TypeError", "next": "TypeError", "unseen": "opaque", "leased": "opaque"})
	if now := d.status().Epoch; now != epoch {
		t.Errorf("a page of another origin made the feed reconnect: epoch %d after %d", now, epoch)
	}
	if c, err := d.Consumer(t.Context(), feed, "indexer"); err != nil || c.Deliveries != 0 {
		t.Errorf("a page of another origin leased a batch: %+v, %v", c, err)
	}

	guarded := newDaemon(t, s.url(), settings{"http.token": quoted(pageToken)})
	guarded.configure(origins)
	c, err := client.New(guarded.addr, pageToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	guarded.Client = c
	guarded.startLive()
	guarded.awaitStored(20)
	withToken := fmt.Sprintf(`
		...((bearer, protocol) => ({
			without: ask("http://" + at + "/v1/feeds"), status: ask("http://" + at + "/v1/feeds", { headers: bearer }),
			change: ask("http://" + at + "/v1/feeds/sky/reconnect", { method: "POST", headers: bearer }),
			made: ask("http://" + at + "/v1/streams/sky/consumers/indexer", { method: "PUT", headers: { ...bearer, ...asJSON }, body: '{"after":"0-0"}' }),
			url: socket("ws://any:" + %[1]q + "@" + at + "/subscribe?cursor=0"), socket: socket("ws://" + at + "/subscribe?cursor=0", ["tempestd", protocol]),
		}))({ Authorization: "Bearer " + %[1]q }, "bearer.%[2]s")`, pageToken, base64.RawURLEncoding.EncodeToString([]byte(pageToken)))
	epoch = guarded.status().Epoch
	b.open(t, other).try(guarded.addr, withToken, map[string]string{"without": "TypeError", "status": "TypeError", "change": "TypeError", "made": "TypeError", "url": "error", "socket": "error"})
	if now := guarded.status().Epoch; now != epoch {
		t.Errorf("a page of another origin made the feed reconnect: epoch %d after %d", now, epoch)
	}
	tab := b.open(t, allowed)
	tab.try(guarded.addr, withToken, map[string]string{"without": "401 Unauthorized", "status": "200 ", "change": "202 ", "made": "201 ", "url": "error", "socket": "tempestd object"})
	eventually(t, "the feed reconnects", func() bool { return guarded.status().Epoch > epoch })
	tab.try(guarded.addr, fmt.Sprintf(`
		sse: follow({ url: "http://" + at + "/streams/sky", live: "sse", headers: { Authorization: "Bearer " + %[1]q } }),
		poll: follow({ url: "http://" + at + "/streams/sky", live: "long-poll", headers: { Authorization: "Bearer " + %[1]q } })`, pageToken),
		map[string]string{"sse": "string string", "poll": "string string"})
	var seen []string
	tab.eval(fmt.Sprintf(`headers("http://%s/streams/sky?offset=-1", { headers: { Authorization: "Bearer %s" } })`, guarded.addr, pageToken), &seen)
	for _, name := range []string{"stream-next-offset", "stream-cursor", "etag", "date"} {
		if !slices.Contains(seen, name) {
			t.Errorf("the page does not see %s, only %v", name, seen)
		}
	}
}
