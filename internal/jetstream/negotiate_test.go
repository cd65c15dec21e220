package jetstream_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
)

func TestV2IsPreferred(t *testing.T) {
	up := &upstream{t: t, v1: []string{}, v2: series(100, v2JSON)}
	req := up.serve()
	req.Filter = jetstream.Filter{Collections: []string{"app.bsky.feed.*"}, DIDs: []string{"did:plc:a"}, Kinds: []string{"commit", "sync"}}
	req.Cursor = jetstream.TimeCursor(1795327636563030)
	sink, err := read(t, req, jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock()), MaxMessageSize: 1 << 20})
	if !jetstream.Classify(err).Clean {
		t.Error(err)
	}
	sink.expect(t, 1, 101)
	if got := sink.conn.Wire(); got != (jetstream.Wire{Protocol: jetstream.ProtocolV2, Compression: jetstream.CompressOff}) {
		t.Errorf("the wire is %+v", got)
	}
	const want = v2Path + "?maxMessageSizeBytes=1048576&cursor=1795327636563030&kinds=commit&kinds=sync&collections=app.bsky.feed.%2A&dids=did%3Aplc%3Aa"
	if up.last() != want {
		t.Errorf("asked for %s, want %s", up.last(), want)
	}
	if len(sink.firsts) != 1 || sink.firsts[0].Seq != 1 || sink.seq != 100 {
		t.Errorf("the first events are %+v, the last sequence number %d", sink.firsts, sink.seq)
	}
}

func TestRawFramesAreKeptAsTheyAre(t *testing.T) {
	up := &upstream{t: t, v2: series(10, v2JSON)}
	req := up.serve()
	req.Protocol, req.Raw = jetstream.ProtocolV2, true
	sink, _ := read(t, req, jetstream.DialOptions{})
	if !slices.Equal(sink.events, up.v2) {
		t.Errorf("got %q", sink.events)
	}
}

func TestV1IsFallenBackToAndRemembered(t *testing.T) {
	for name, answer := range map[string]int{"not found": 404, "method not allowed": 405, "gone": 410, "upgrade required": 426, "not implemented": 501, "a page": 200} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{t: t, v1: series(3, eventJSON), v2: []string{}}
			gone := true
			up.refuse = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == v2Path && gone {
					w.WriteHeader(answer)
				}
				return r.URL.Path == v2Path && gone
			}
			req := up.serve()
			clock := clockwork.NewFakeClock()
			opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clock)}
			for range 2 {
				sink, _ := read(t, req, opt)
				sink.expect(t, 1, 4)
				if wire := sink.conn.Wire(); wire.Protocol != jetstream.ProtocolV1 || !strings.Contains(wire.Fallback, "no v2: the server answers with ") {
					t.Errorf("the wire is %+v", wire)
				}
			}
			if got := up.paths(); !slices.Equal(got, []string{v2Path, v1Path, v1Path}) {
				t.Errorf("asked for %q", got)
			}
			gone = false
			clock.Advance(6 * time.Hour)
			if sink, _ := read(t, req, opt); sink.conn.Wire() != (jetstream.Wire{Protocol: jetstream.ProtocolV2, Compression: jetstream.CompressOff}) {
				t.Errorf("the wire is %+v", sink.conn.Wire())
			}
		})
	}
}

func TestOnlyAnAnswerThatThereIsNoV2LeadsToV1(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   jetstream.RefusedError
	}{
		"InvalidRequest":     {400, jetstream.RefusedError{Status: 400, Name: "InvalidRequest", Message: "because", Permanent: true}},
		"Unauthorized":       {401, jetstream.RefusedError{Status: 401, Name: "Unauthorized", Message: "because", Permanent: true}},
		"CursorTooOld":       {400, jetstream.RefusedError{Status: 400, Name: "CursorTooOld", Message: "because"}},
		"ServiceUnavailable": {503, jetstream.RefusedError{Status: 503, Name: "ServiceUnavailable", Message: "because", Passing: true}},
		"InternalError":      {500, jetstream.RefusedError{Status: 500, Name: "InternalError", Message: "because"}},
		"RateLimited":        {429, jetstream.RefusedError{Status: 429, Name: "RateLimited", Message: "because"}},
	} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{t: t, v1: []string{}, refuse: func(w http.ResponseWriter, r *http.Request) bool {
				refuse(w, c.status, name, "because")
				return true
			}}
			err := tryDial(t, up.serve(), jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())})
			if got := refusal(t, err); *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
			if jetstream.ResumeByTime(err) != (name == "CursorTooOld") || jetstream.Classify(err).Name != name {
				t.Errorf("by time = %v, the ending is %+v", jetstream.ResumeByTime(err), jetstream.Classify(err))
			}
			if got := up.paths(); len(got) != 1 {
				t.Errorf("asked for %q", got)
			}
		})
	}
	t.Run("a fault of the network", func(t *testing.T) {
		up := &upstream{t: t, v1: []string{}, refuse: func(w http.ResponseWriter, r *http.Request) bool {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
			return true
		}}
		req := up.serve()
		err := tryDial(t, req, jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())})
		if jetstream.Classify(err).Cause != jetstream.CauseNetwork || len(up.paths()) != 1 {
			t.Errorf("%v after %q", err, up.paths())
		}
	})
}

func TestThePathAndTheRequestPinTheProtocol(t *testing.T) {
	up := &upstream{t: t, v1: series(1, eventJSON), v2: series(1, v2JSON)}
	host := up.serve().Endpoint.Host()
	with := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())}
	for _, c := range []struct {
		path     string
		protocol jetstream.Protocol
		opt      jetstream.DialOptions
		want     string
	}{
		{"", jetstream.ProtocolAuto, with, v2Path},
		{"/", jetstream.ProtocolAuto, with, v2Path},
		{"", jetstream.ProtocolAuto, jetstream.DialOptions{}, v1Path},
		{"", jetstream.ProtocolV1, with, v1Path},
		{"", jetstream.ProtocolV2, jetstream.DialOptions{}, v2Path},
		{v1Path, jetstream.ProtocolAuto, with, v1Path},
		{v1Path, jetstream.ProtocolV1, with, v1Path},
		{v2Path, jetstream.ProtocolAuto, jetstream.DialOptions{}, v2Path},
		{"/custom", jetstream.ProtocolAuto, with, "/custom"},
		{"/custom", jetstream.ProtocolV2, with, "/custom"},
	} {
		req := jetstream.Request{Endpoint: endpoint(t, "ws://"+host+c.path), Protocol: c.protocol}
		err := tryDial(t, req, c.opt)
		path, _, _ := strings.Cut(up.last(), "?")
		if path != c.want || err != nil && c.path != "/custom" {
			t.Errorf("%q with %s: asked for %s (%v), want %s", c.path, c.protocol, path, err, c.want)
		}
	}
	asked := len(up.paths())
	for _, c := range []jetstream.Request{{Endpoint: endpoint(t, "ws://"+host+v1Path), Protocol: jetstream.ProtocolV2}, {Endpoint: endpoint(t, "ws://"+host+v2Path), Protocol: jetstream.ProtocolV1}} {
		if err := tryDial(t, c, with); !errors.Is(err, jetstream.ErrBadRequest) {
			t.Errorf("got %v", err)
		}
	}
	if len(up.paths()) != asked {
		t.Errorf("asked for %s", up.last())
	}
}

func TestI2_ASequenceIsNotSentToALegacyServer(t *testing.T) {
	legacy := `{"did":"did:plc:a","time_us":1795327636563030,"kind":"identity","identity":{"seq":1}}`
	up := &upstream{t: t, v1: []string{legacy}}
	req := up.serve()
	opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())}
	bySeq := req
	bySeq.Cursor = jetstream.SequenceCursor(req.Endpoint.Host(), 20000)
	refused := func() {
		t.Helper()
		if err := tryDial(t, bySeq, opt); !errors.Is(err, jetstream.ErrLegacySeq) || !jetstream.ResumeByTime(err) {
			t.Errorf("got %v", err)
		}
	}
	// The server speaks v2 and has the sequence numbers; then it becomes a legacy one.
	up.v2 = series(1, v2JSON)
	read(t, req, opt)
	up.v2 = nil
	refused()
	read(t, req, opt)
	refused()
	for _, uri := range up.asked {
		if path, query, _ := strings.Cut(uri, "?"); path == v1Path && strings.Contains(query, "cursor=20000") {
			t.Errorf("asked for %s", uri)
		}
	}
	// A server that speaks v1 only, but has sequence numbers, may be asked for them.
	up.v1 = series(1, eventJSON)
	read(t, req, opt)
	if err := tryDial(t, bySeq, opt); err != nil || !strings.Contains(up.last(), "cursor=20000") {
		t.Errorf("%v after %s", err, up.last())
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	for body, want := range map[string]jetstream.RefusedError{
		`{"error":"CursorTooOld","message":"` + strings.Repeat("x", 5000) + `"}`: {Name: "CursorTooOld"},
		`{"message":"first <b>","error":"InvalidRequest"}`:                       {Name: "InvalidRequest", Message: "first <b>", Permanent: true},
		`{"error":"not a name","message":"m"}`:                                   {Message: `{"error":"not a name","message":"m"}`, Permanent: true},
		`{"error":["x"],"message":5}`:                                            {Message: `{"error":["x"],"message":5}`, Permanent: true},
		`{"error":`:                                                              {Message: `{"error":`, Permanent: true},
		`[1,2]`:                                                                  {Message: `[1,2]`, Permanent: true},
	} {
		req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			w.Write([]byte(body))
		})
		want.Status = 400
		if got := refusal(t, tryDial(t, req, jetstream.DialOptions{})); *got != want {
			t.Errorf("%.60s gives %+v, want %+v", body, *got, want)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	for _, s := range []string{"", "subscribe: invalid cursor: \"abc\"\n", `{"error":"InvalidRequest","message":"m"}`, `{"error":"CursorTooOld","message":"cut o`, `{"error":{"a":[]},"message":null}`, `{"a":1,}`, "\x00\xff{", "[[[[", `{"error":"UnknownZstdDictionary"}`} {
		f.Add(400, s)
	}
	f.Add(101, "")
	f.Add(503, `{"error":"ServiceUnavailable"}`)
	var status int
	var body string
	req := serveHTTP(f, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	})
	f.Fuzz(func(t *testing.T, code int, text string) {
		status, body = 200+max(code, -code)%400, text
		err := tryDial(t, req, jetstream.DialOptions{})
		r, ok := errors.AsType[*jetstream.RefusedError](err)
		if !ok || r.Status != status || len(r.Message) > 200 || len(r.Name) > 64 || r.Permanent && status >= 500 || len(err.Error()) > 400 {
			t.Fatalf("%d %q gives %#v", status, body, err)
		}
		if end := jetstream.Classify(err); end.Name != r.Name || strings.ContainsAny(end.Reason, "\n\x00\x1b") {
			t.Fatalf("%d %q gives %+v", status, body, end)
		}
	})
}

func TestProtocolsAndCompressionsAreNamed(t *testing.T) {
	for _, p := range []jetstream.Protocol{jetstream.ProtocolAuto, jetstream.ProtocolV1, jetstream.ProtocolV2} {
		if got, err := jetstream.ParseProtocol(p.String()); err != nil || got != p {
			t.Errorf("%s is %s, %v", p, got, err)
		}
	}
	for _, c := range []jetstream.Compression{jetstream.CompressAuto, jetstream.CompressOff, jetstream.CompressZstd, jetstream.CompressDeflate} {
		if got, err := jetstream.ParseCompression(c.String()); err != nil || got != c {
			t.Errorf("%s is %s, %v", c, got, err)
		}
	}
	if _, err := jetstream.ParseProtocol("v3"); err == nil || !strings.Contains(err.Error(), "auto, v1, v2") {
		t.Errorf("got %v", err)
	}
	if _, err := jetstream.ParseCompression("gzip"); err == nil || !strings.Contains(err.Error(), "auto, off, zstd, deflate") {
		t.Errorf("got %v", err)
	}
}
