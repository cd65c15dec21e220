package serve_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
)

// simulated returns the events of a simulated network in v1 and v2. They are made once.
var simulated = sync.OnceValues(func() (v1, v2 []string) {
	const n = 1500
	sim, err := jetsim.New(jetsim.Options{Backlog: n, Accounts: 60})
	if err != nil {
		panic(err)
	}
	defer sim.Close()
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		panic(err)
	}
	for url, frames := range map[string]*[]string{sim.URL(): &v1, sim.URLv2(): &v2} {
		conn, _, err := websocket.Dial(context.Background(), url+"?cursor=0", nil)
		if err != nil {
			panic(err)
		}
		for range n {
			_, b, err := conn.Read(context.Background())
			if err != nil {
				panic(err)
			}
			*frames = append(*frames, string(b))
		}
		_ = conn.CloseNow()
	}
	// Servers leave numbers out. These are the numbers in a stream that has all events from the
	// beginning.
	for i := range n {
		v1[i], v2[i] = withNumber(v1[i], i+1), withNumber(v2[i], i+1)
	}
	return v1, v2
})

var itsNumber = regexp.MustCompile(`("time_us":\d+,"cursor":|,"seq":)\d+(,"kind":|,"time":)`)

// withNumber returns an event or frame with another sequence number.
func withNumber(text string, n int) string {
	return itsNumber.ReplaceAllString(text, fmt.Sprint("${1}", n, "${2}"))
}

// store appends events as a feed does, with the time and the number that each one contains.
func store(t testing.TB, stream persistence.Stream, events ...string) {
	t.Helper()
	var batch messages.Batch
	for _, text := range events {
		e := messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(text)), Kind: messages.KindGap}
		var gap struct {
			TimeUS int64 `json:"time_us"`
		}
		if err := jetstream.Scan([]byte(text), &e); err != nil { // a gap
			_ = json.Unmarshal([]byte(text), &gap)
			e.TimeUS = gap.TimeUS
		}
		batch.Events = append(batch.Events, e)
		batch.Buf = append(batch.Buf, text...)
	}
	if _, err := stream.Append(context.Background(), &batch, messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
}

// event returns an identity event with that time and number. 0 leaves the number out, as legacy
// hosts do.
func event(us, seq int64) string {
	if seq == 0 {
		return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"identity","identity":{"seq":%d}}`, us, us)
	}
	return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"identity","identity":{"seq":%d}}`, us, seq, us)
}

const pathV2 = atproto.EventsPath

// subscriber is a websocket client.
type subscriber struct {
	t testing.TB
	*websocket.Conn
	answer *http.Response
}

// dial subscribes.
func (d *daemon) dial(path string, header ...string) *subscriber {
	d.t.Helper()
	s, err := d.tryDial(path, &websocket.DialOptions{}, header...)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *daemon) tryDial(path string, opt *websocket.DialOptions, header ...string) (*subscriber, error) {
	opt.HTTPHeader = http.Header{}
	for i := 0; i < len(header); i += 2 {
		opt.HTTPHeader.Set(header[i], header[i+1])
	}
	conn, answer, err := websocket.Dial(context.Background(), "ws://"+d.addr+path, opt)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	d.t.Cleanup(func() { _ = conn.CloseNow() })
	return &subscriber{d.t, conn, answer}, nil
}

// read reads n messages.
func (s *subscriber) read(n int) (texts []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range n {
		_, b, err := s.Read(ctx)
		if err != nil {
			s.t.Fatalf("after %d of %d messages: %v", len(texts), n, err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

// rest reads until the connection ends.
func (s *subscriber) rest() (texts []string, ending websocket.CloseError) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, b, err := s.Read(ctx)
		if err != nil {
			ending.Code = websocket.CloseStatus(err)
			if e, ok := asCloseError(err); ok {
				ending = e
			}
			return texts, ending
		}
		texts = append(texts, string(b))
	}
}

// say sends a text message.
func (s *subscriber) say(text string) {
	s.t.Helper()
	if err := s.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// same compares messages one by one.
func same(t testing.TB, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("message %d is\n%s, want\n%s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
}

func TestSubscribersGetTheStreamInEitherProtocol(t *testing.T) {
	v1, v2 := simulated()
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	store(t, stream, v1[:1000]...)
	d := start(t, storage)
	all := map[string][]string{
		"/subscribe?cursor=0":                           v1,
		"/v1/streams/bluesky/subscribe?cursor=1":        v1,
		"/subscribe?cursor=1000000000000000":            v1,
		"/subscribe?cursor=0&stream=bluesky&cursor=abc": v1,
		pathV2 + "?cursor=0":                            v2,
		pathV2 + "?cursor=0&stream=bluesky":             v2,
	}
	subscribers := map[string]*subscriber{}
	for path := range all {
		subscribers[path] = d.dial(path)
	}
	live, liveV2 := d.dial("/subscribe"), d.dial(pathV2+"?cursor=1001")
	for path, want := range all {
		same(t, subscribers[path].read(1000), want[:1000])
	}
	d.tailing("bluesky", 8)
	store(t, stream, v1[1000:]...)
	for path, want := range all {
		same(t, subscribers[path].read(500), want[1000:])
	}
	same(t, live.read(500), v1[1000:])
	same(t, liveV2.read(500), v2[1000:])
}

func TestAStreamKeptRawIsServedInEitherProtocol(t *testing.T) {
	v1, v2 := simulated()
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), v2[:300]...)
	d := start(t, storage)
	same(t, d.dial("/subscribe?cursor=0").read(300), v1[:300])
	same(t, d.dial(pathV2+"?cursor=0").read(300), v2[:300])
}

func TestFiltersOfSubscribers(t *testing.T) {
	v1, v2 := simulated()
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), v1...)
	d := start(t, storage)
	type fields struct {
		DID, Kind string
		Commit    struct{ Collection string }
	}
	var parsed []fields
	for _, text := range v1 {
		var f fields
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	kept := func(of []string, want func(i int) bool) (texts []string) {
		for i := range of {
			if want(i) {
				texts = append(texts, of[i])
			}
		}
		return texts
	}
	did := parsed[0].DID
	for _, c := range []struct {
		path string
		want []string
	}{
		{"/subscribe?cursor=0&wantedCollections=app.bsky.feed.like", kept(v1, func(i int) bool {
			return parsed[i].Kind != "commit" || parsed[i].Commit.Collection == "app.bsky.feed.like"
		})},
		{"/subscribe?cursor=0&wantedCollections=app.bsky.graph.*&wantedDids=" + did, kept(v1, func(i int) bool {
			return parsed[i].DID == did && (parsed[i].Kind != "commit" || strings.HasPrefix(parsed[i].Commit.Collection, "app.bsky.graph."))
		})},
		{"/subscribe?cursor=0&maxMessageSizeBytes=400", kept(v1, func(i int) bool { return len(v1[i]) <= 400 })},
		{pathV2 + "?cursor=0&maxMessageSizeBytes=400", kept(v2, func(i int) bool { return len(v2[i]) <= 400 })},
		{pathV2 + "?cursor=0&kinds=identity&kinds=account", kept(v2, func(i int) bool { return parsed[i].Kind != "commit" })},
		{pathV2 + "?cursor=0&kinds=commit&collections=app.bsky.feed.post&dids=" + did, kept(v2, func(i int) bool {
			return parsed[i].DID == did && parsed[i].Commit.Collection == "app.bsky.feed.post"
		})},
	} {
		if len(c.want) == 0 {
			t.Errorf("%s wants nothing", c.path)
		}
		same(t, d.dial(c.path).read(len(c.want)), c.want)
	}
}

func TestHelloAndOptionsUpdate(t *testing.T) {
	v1, _ := simulated()
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	store(t, stream, v1[:100]...)
	d := start(t, storage)
	replay, live := d.dial("/subscribe?cursor=0&requireHello=true&wantedCollections=app.bsky.graph.block"), d.dial("/subscribe?requireHello=true")
	d.tailing("bluesky", 2)
	store(t, stream, v1[100:200]...)
	replay.say(`{"type":"unheard of"}`)
	replay.say(`{"type":"options_update","payload":{}}`)
	same(t, replay.read(200), v1[:200])
	live.say(`{"type":"options_update","payload":{"wantedDids":["did:plc:nobody"]}}`)
	live.say(`{"type":"options_update","payload":{}}`)
	// When the ping is answered, the server has read the message before it.
	if err := live.CloseRead(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	_ = live.Ping(context.Background())
	_ = live.CloseNow()

	for text, want := range map[string]websocket.CloseError{
		`{"type":"options_update","payload":{"wantedCollections":["garbage"]}}`: {Code: 1008, Reason: "subscribe: invalid options: invalid collection: garbage"},
		`{"type":"options_update"}`:              {Code: 1007, Reason: "bad options_update payload"},
		`{"type":"options_update","payload":[]}`: {Code: 1007, Reason: "bad options_update payload"},
		`{"type":`:                               {Code: 1007, Reason: "bad SubscriberSourcedMessage envelope"},
	} {
		s := d.dial("/subscribe")
		s.say(text)
		if _, ending := s.rest(); ending != want {
			t.Errorf("%s ends with %v, want %v", text, ending, want)
		}
	}
	s := d.dial(pathV2)
	s.say(`{"type":"options_update","payload":{}}`)
	if _, ending := s.rest(); ending != (websocket.CloseError{Code: 1008, Reason: "unexpected data message"}) {
		t.Errorf("v2 ends with %v", ending)
	}
}

// Responses before the upgrade match the protocol byte for byte.
func TestRefusalsBeforeTheUpgrade(t *testing.T) {
	storage := openStore(t)
	openStream(t, storage, "one", event(firstUS, 7))
	d := start(t, storage)
	for _, c := range []struct {
		path, body, kind string
		status           int
		header           []string
	}{
		{"/subscribe?cursor=abc", "subscribe: invalid cursor: \"abc\"\n", "text/plain; charset=utf-8", 400, nil},
		{"/subscribe?wantedCollections=", "subscribe: invalid options: invalid collection: \n", "text/plain; charset=utf-8", 400, nil},
		{"/subscribe?compress=true", "choose one compression scheme: custom zstd (compress=true / Socket-Encoding: zstd) or RFC 7692 permessage-deflate, not both\n", "text/plain; charset=utf-8", 400,
			[]string{"Sec-WebSocket-Extensions", "permessage-deflate"}},
		{"/subscribe", "WebSocket protocol violation: Connection header \"\" does not contain Upgrade\n", "text/plain; charset=utf-8", 426, nil},
		{"/subscribe?cursor=%zz", "invalid URL escape \"%zz\"\n", "text/plain; charset=utf-8", 400, nil},
		{"/subscribe?stream=two", "no such stream: \"two\"\n", "text/plain; charset=utf-8", 404, nil},
		{pathV2 + "?cursor=-1", `{"error":"InvalidRequest","message":"subscribe: invalid cursor: negative value -1"}`, "application/json", 400, nil},
		{pathV2 + "?zstdDictionary=9", `{"error":"UnknownZstdDictionary","message":"unknown zstd dictionary id 9; this daemon has none at hand: connect without zstdDictionary"}`, "application/json", 400, nil},
		{pathV2, "WebSocket protocol violation: Connection header \"\" does not contain Upgrade\n", "text/plain; charset=utf-8", 426, nil},
		{atproto.DictionaryPath, `{"error":"DictionaryNotFound","message":"this daemon has no zstd dictionary at hand"}`, "application/json", 404, nil},
	} {
		r := d.do("GET", c.path, c.header...)
		if r.status != c.status || r.body != c.body || r.header.Get("Content-Type") != c.kind {
			t.Errorf("%s answers %d %s %q, want %d %s %q", c.path, r.status, r.header.Get("Content-Type"), r.body, c.status, c.kind, c.body)
		}
	}
}

func TestTheStreamOfASubscriberThatNamesNone(t *testing.T) {
	storage := openStore(t)
	store(t, openStream(t, storage, "one"), event(firstUS, 1))
	store(t, openStream(t, storage, "two"), event(firstUS+1, 1))
	d := start(t, storage)
	const list = "stream: missing, and this daemon has 2; accepted: one, two (http.default_stream can name one)"
	if r := d.get("/subscribe?cursor=0"); r.status != 400 || r.body != list+"\n" {
		t.Errorf("%d %q", r.status, r.body)
	}
	if r := d.get(pathV2); r.status != 400 || r.body != `{"error":"InvalidRequest","message":"`+list+`"}` {
		t.Errorf("%d %q", r.status, r.body)
	}
	same(t, d.dial("/subscribe?cursor=0&stream=two").read(1), []string{event(firstUS+1, 1)})
	named := start(t, storage, func(o *serve.Options) { o.DefaultStream = "two" })
	same(t, named.dial("/subscribe?cursor=0").read(1), []string{event(firstUS+1, 1)})
	same(t, named.dial("/subscribe?cursor=0&stream=one").read(1), []string{event(firstUS, 1)})
}

func TestSubprotocolAndDeflate(t *testing.T) {
	v1, v2 := simulated()
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), v1[:200]...)
	d := start(t, storage)
	for offer, want := range map[string]string{"xrpc.v1.json": "xrpc.v1.json", "other, xrpc.v1.json": "xrpc.v1.json", "XRPC.V1.JSON": "", "other": ""} {
		for path, want := range map[string]string{pathV2: want, "/subscribe": ""} {
			s, err := d.tryDial(path, &websocket.DialOptions{Subprotocols: strings.Split(offer, ", ")})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.answer.Header.Get("Sec-WebSocket-Protocol"); got != want {
				t.Errorf("%s: %q is answered by %q, want %q", path, offer, got, want)
			}
		}
	}
	for path, want := range map[string][]string{"/subscribe?cursor=0": v1[:200], pathV2 + "?cursor=0": v2[:200]} {
		s, err := d.tryDial(path, &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.answer.Header.Get("Sec-WebSocket-Extensions"); (got == "permessage-deflate") != (path[1] == 's') {
			t.Errorf("%s agrees to %q", path, got)
		}
		same(t, s.read(200), want)
	}
}

// A closed stream is sent up to its end. A daemon that stops sends a close frame.
func TestEndings(t *testing.T) {
	v1, v2 := simulated()
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	store(t, stream, v1[:300]...)
	d := start(t, storage)
	one, two, hello := d.dial("/subscribe?cursor=0"), d.dial(pathV2+"?cursor=0"), d.dial("/subscribe?requireHello=true")
	same(t, one.read(300), v1[:300])
	same(t, two.read(300), v2[:300])
	d.tailing("bluesky", 3)
	stopped := make(chan error)
	go func() { stopped <- d.Shutdown(context.Background()) }()
	for _, s := range []*subscriber{one, two, hello} {
		if texts, ending := s.rest(); len(texts) > 0 || ending != (websocket.CloseError{Code: 1001, Reason: "server shutting down"}) {
			t.Errorf("%d messages, %v", len(texts), ending)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	d = start(t, storage)
	waits := d.dial("/subscribe")
	d.tailing("bluesky", 1)
	if err := stream.Close(context.Background(), "the feed was removed"); err != nil {
		t.Fatal(err)
	}
	late := d.dial(pathV2 + "?cursor=0")
	for s, n := range map[*subscriber]int{waits: 0, late: 300} {
		if texts, ending := s.rest(); len(texts) != n || ending != (websocket.CloseError{Code: 1000, Reason: "the feed was removed"}) {
			t.Errorf("%d messages, %v", len(texts), ending)
		}
	}
}

const gapOf = `{"kind":"gap","time_us":%d,"gap":{"host":"h:443","from_us":1,"to_us":2,"cause":"replay_window"}}`

func TestI4_GapsAreToldInV2AndCannotBeInV1(t *testing.T) {
	storage := openStore(t)
	a, b := event(firstUS, 1), event(firstUS+2, 3) // the gap has a number as well
	store(t, openStream(t, storage, "bluesky"), a, fmt.Sprintf(gapOf, firstUS+1), b)
	d := start(t, storage)
	same(t, d.dial("/subscribe?cursor=0").read(2), []string{a, b})
	got := d.dial(pathV2 + "?cursor=0").read(3)
	const want = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"events are missing from 1 to 2 (replay_window)","name":"Gap"}}`
	if got[1] != want {
		t.Errorf("%s, want %s", got[1], want)
	}
}

func TestI4_WhatBecameOfAGapIsToldInV2(t *testing.T) {
	storage := openStore(t)
	const closing = `{"kind":"gap","time_us":%d,"gap":{"id":"00ff","state":%q,"host":"h:443","from_us":1,"to_us":2,"cause":"replay_window"}}`
	store(t, openStream(t, storage, "bluesky"), fmt.Sprintf(closing, firstUS, "repaired"), fmt.Sprintf(closing, firstUS+1, "partly"), fmt.Sprintf(closing, firstUS+2, "unrepairable"))
	d := start(t, storage)
	for i, text := range d.dial(pathV2 + "?cursor=0").read(3) {
		want := []string{"the events from 1 to 2 (replay_window) were missing and were sent since",
			"some of the events from 1 to 2 (replay_window) were missing and were sent since, the others are not to be had",
			"the events from 1 to 2 (replay_window) are missing and not to be had"}[i]
		if !strings.Contains(text, `#info","message":"`+want+`","name":"Gap"`) {
			t.Errorf("%s, want %s", text, want)
		}
	}
}

func TestTheTokenOfASubscriber(t *testing.T) {
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), event(firstUS, 1))
	d := start(t, storage, func(o *serve.Options) { o.Token = "s3cret" })
	for _, path := range []string{"/subscribe?cursor=0", pathV2 + "?cursor=0", atproto.DictionaryPath} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"Authorization", "Basic OnMzY3JldA"}} {
			d.want(d.do("GET", path, header...), 401, "Unauthorized")
		}
	}
	d.want(d.get("/subscribe?token=s3cret"), 401, "Unauthorized")
	d.dial("/subscribe?cursor=0", "Authorization", "Bearer s3cret").read(1)
	conn, _, err := websocket.Dial(context.Background(), "ws://anyone:s3cret@"+d.addr+"/subscribe?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if _, _, err := conn.Read(context.Background()); err != nil {
		t.Error(err)
	}
}

// A page's script can send only subprotocols, and its browser requires that the server selects one
// of them. The server never selects the token.
func TestTheTokenOfAPagesSubscriber(t *testing.T) {
	const token = "s3cret/+=~"
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), event(firstUS, 1))
	d := start(t, storage, allow(token, appOrigin))
	bearer := "bearer." + base64.RawURLEncoding.EncodeToString([]byte(token))
	for _, tt := range []struct {
		path    string
		offered []string
		agreed  string // the selected subprotocol, "" for none; "401" for a refusal
	}{
		{"/subscribe?cursor=0", []string{"tempestd", bearer}, "tempestd"}, {"/subscribe?cursor=0", []string{bearer, "tempestd"}, "tempestd"}, {"/subscribe?cursor=0", []string{bearer}, ""},
		{pathV2 + "?cursor=0", []string{bearer, "xrpc.v1.json", "tempestd"}, "xrpc.v1.json"}, {pathV2 + "?cursor=0", []string{"tempestd", bearer}, "tempestd"},
		{"/subscribe?cursor=0", []string{"tempestd"}, "401"}, {"/subscribe?cursor=0", []string{"tempestd", "bearer."}, "401"}, {"/subscribe?cursor=0", []string{"tempestd", bearer + "x"}, "401"},
		{"/subscribe?cursor=0", []string{"tempestd", "bearer.s3cret"}, "401"}, {"/subscribe?cursor=0", []string{"tempestd", "bearer.="}, "401"},
	} {
		for _, origin := range []string{appOrigin, "http://" + d.addr} {
			s, err := d.tryDial(tt.path, &websocket.DialOptions{Subprotocols: tt.offered}, "Origin", origin)
			if tt.agreed == "401" {
				if err == nil || !strings.Contains(err.Error(), "401") {
					t.Errorf("%v of %s: %v", tt.offered, origin, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v of %s: %v", tt.offered, origin, err)
			}
			if got := s.Subprotocol(); got != tt.agreed {
				t.Errorf("%v of %s: agreed to %q, want %q", tt.offered, origin, got, tt.agreed)
			}
			s.read(1)
		}
	}
	if _, err := d.tryDial("/subscribe", &websocket.DialOptions{Subprotocols: []string{"tempestd", bearer}}, "Origin", evilOrigin); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("of %s: %v", evilOrigin, err)
	}
	if log := d.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, bearer) {
		t.Errorf("the log holds the token: %s", log)
	}
}

func TestAnotherSitesPageCannotSubscribe(t *testing.T) {
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), event(firstUS, 1))
	d := start(t, storage)
	for _, path := range []string{"/subscribe?cursor=0", pathV2 + "?cursor=0"} {
		if _, err := d.tryDial(path, &websocket.DialOptions{}, "Origin", "https://evil.example"); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", path, err)
		}
		d.dial(path, "Origin", "http://"+d.addr).read(1)
	}
}

func asCloseError(err error) (websocket.CloseError, bool) {
	return errors.AsType[websocket.CloseError](err)
}
