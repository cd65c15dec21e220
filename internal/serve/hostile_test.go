package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/klauspost/compress/zstd"

	"tempestd/internal/atproto"
	"tempestd/internal/jetsim"
	"tempestd/internal/serve"
)

// rawSubscribe makes a websocket handshake by hand, so that the test can send any bytes.
func (d *daemon) rawSubscribe(path string) (net.Conn, *bufio.Reader) {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+d.addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		if err != nil || first && !strings.HasPrefix(line, "HTTP/1.1 101") {
			d.t.Fatalf("%q, %v", line, err)
		}
		if line == "\r\n" {
			return conn, r
		}
	}
}

// frame returns a client's websocket frame with a mask of zeros.
func frame(head byte, length uint64, payload []byte) []byte {
	b := []byte{head}
	switch {
	case length < 126:
		b = append(b, 0x80|byte(length))
	case length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), length)
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func textFrame(payload string) []byte { return frame(0x81, uint64(len(payload)), []byte(payload)) }

// A client can end only its own connection, whatever it sends.
func TestI8_WhateverAClientSendsEndsItsOwnConnectionAtMost(t *testing.T) {
	v1, _ := simulated()
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	store(t, stream, v1[:100]...)
	d := start(t, storage)
	bystander := d.dial("/subscribe?cursor=0")
	same(t, bystander.read(100), v1[:100])

	noise := make([]byte, 4096)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	fragments := frame(0x01, 1, []byte("{"))
	for range 2000 {
		fragments = append(fragments, frame(0x00, 1, []byte(" "))...)
	}
	var offenders sync.WaitGroup
	for name, c := range map[string]struct {
		path  string
		sent  []byte
		close bool // the frame breaks a rule, and the connection ends
	}{
		"noise":                           {"/subscribe", noise, false},
		"an unmasked frame":               {"/subscribe", []byte{0x81, 2, '{', '}'}, true},
		"reserved bits":                   {"/subscribe", frame(0xf1, 2, []byte("{}")), true},
		"an unknown opcode":               {"/subscribe", frame(0x83, 2, []byte("{}")), true},
		"a fragmented ping":               {"/subscribe", frame(0x09, 1, []byte("x")), true},
		"a ping that is too long":         {"/subscribe", frame(0x89, 200, make([]byte, 200)), true},
		"a message said to be huge":       {"/subscribe", frame(0x81, 1<<40, []byte("{")), true},
		"a message over the limit":        {"/subscribe", frame(0x81, atproto.MaxSubscriberMessage+2, bytes.Repeat([]byte(" "), atproto.MaxSubscriberMessage+2)), true},
		"a length of 63 bits":             {"/subscribe", frame(0x81, 1<<63, nil), true},
		"fragments of bad JSON":           {"/subscribe", append(fragments, frame(0x80, 1, []byte("["))...), true},
		"a continuation of nothing":       {"/subscribe", frame(0x80, 2, []byte("{}")), true},
		"a close frame of one byte":       {"/subscribe", frame(0x88, 1, []byte{3}), true},
		"JSON nested deep":                {"/subscribe", textFrame(strings.Repeat("[", 100_000)), true},
		"an options_update in a binary":   {"/subscribe", append(frame(0x82, 5, []byte("xxxxx")), frame(0x89, 1, []byte("?"))...), false},
		"data on v2, a byte of a message": {pathV2, frame(0x81, 1<<30, []byte("{")), true},
	} {
		conn, r := d.rawSubscribe(c.path)
		go conn.Write(c.sent)
		if !c.close {
			continue
		}
		offenders.Go(func() {
			if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s: the connection does not end: %v", name, err)
			}
		})
	}
	offenders.Wait()
	store(t, stream, v1[100:300]...)
	same(t, bystander.read(200), v1[100:300])
}

// A subscriber that does not read is disconnected after the write timeout. Other subscribers do not
// wait for it.
func TestI8_ASubscriberThatDoesNotReadIsCut(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	filler := strings.Repeat("x", 60_000)
	store(t, stream, event(firstUS, 1))
	d := start(t, storage)
	_, r := d.rawSubscribe("/subscribe?cursor=0")
	reads := d.dial("/subscribe")
	d.tailing("bluesky", 2)
	// More events than the socket buffers hold.
	var events []string
	for i := range int64(300) {
		events = append(events, strings.Replace(event(firstUS+1000+i, i+2), `"identity":{`, `"identity":{"filler":"`+filler+`",`, 1))
	}
	for at := 0; at < len(events); at += 100 {
		store(t, stream, events[at:at+100]...)
		same(t, reads.read(100), events[at:at+100])
	}
	d.tailing("bluesky", 1)
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection does not end: %v", err)
	}
	eventually(t, "it is told", func() bool { return strings.Contains(d.log.String(), `"event":"subscriber.cut"`) })
}

// unpack decompresses zstd messages, with a dictionary or without.
func unpack(t *testing.T, packed []string, dictionary []byte) (texts []string) {
	t.Helper()
	opt := []zstd.DOption{zstd.WithDecoderConcurrency(1)}
	if dictionary != nil {
		opt = append(opt, zstd.WithDecoderDicts(dictionary))
	}
	dec, err := zstd.NewReader(nil, opt...)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for _, p := range packed {
		b, err := dec.DecodeAll([]byte(p), nil)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

func TestPackedMessagesAreTheSameEvents(t *testing.T) {
	v1, v2 := simulated()
	sim, err := jetsim.New(jetsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	dict1, err := sim.V1Dictionary()
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	upstream := &daemon{t: t, addr: sim.Addr(), http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	dict2 := []byte(upstream.get(atproto.DictionaryPath).body)

	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	large := strings.Replace(event(firstUS+1e12, 401), `"identity":{`, `"identity":{"filler":"`+strings.Repeat("é\\n", 100_000)+`",`, 1)
	store(t, stream, append(v1[:400:400], large)...)
	plain := start(t, storage)
	d := start(t, storage, func(o *serve.Options) {
		o.Dictionaries = func(name string) (_, _ []byte) {
			if name != "bluesky" {
				t.Errorf("asked for %q", name)
			}
			return dict1, dict2
		}
	})
	want := append(v1[:400:400], large)
	packed := d.dial("/subscribe?cursor=0&compress=true").read(401)
	same(t, unpack(t, packed, dict1), want)
	if n, m := len(strings.Join(packed[:400], "")), len(strings.Join(v1[:400], "")); n > m*3/4 {
		t.Errorf("%d bytes are packed to %d", m, n)
	}
	// When the server lacks the dictionary, clients with it and clients without it can read the
	// messages.
	header := plain.dial("/subscribe?cursor=0", "Socket-Encoding", "zstd").read(401)
	same(t, unpack(t, header, dict1), want)
	same(t, unpack(t, header, nil), want)

	offer := d.get(atproto.DictionaryPath)
	id := offer.header.Get("X-Zstd-Dictionary-Id")
	if offer.body != string(dict2) || offer.header.Get("Etag") != `"zstd-dict-`+id+`"` || offer.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("%d %v", offer.status, offer.header)
	}
	same(t, unpack(t, d.dial(pathV2+"?cursor=0&zstdDictionary="+id).read(400), dict2), v2[:400])
	d.want(d.get(atproto.DictionaryPath+"?id=5"), 404, "DictionaryNotFound")
	d.want(d.get(atproto.DictionaryPath+"?id="+id), 200, "")
	d.want(d.get(atproto.DictionaryPath+"?id=x"), 400, "InvalidRequest")
	if r := d.get(pathV2 + "?zstdDictionary=5"); r.status != 400 || r.body != `{"error":"UnknownZstdDictionary","message":"unknown zstd dictionary id 5; current dictionary id is `+id+` (fetch it via getZstdDictionary and reconnect)"}` {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestASubscriberThatCannotBeAdmitted(t *testing.T) {
	storage := openStore(t)
	openStream(t, storage, "bluesky", event(firstUS, 1))
	d := start(t, storage, func(o *serve.Options) { o.MaxTails = 1 })
	first := d.dial("/subscribe")
	d.tailing("bluesky", 1)
	r := d.get(pathV2)
	d.want(r, 429, "TooManyTails")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if err := first.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	d.tailing("bluesky", 0)
	d.dial(pathV2).silent(pathV2)
}

// When Shutdown's context ends, subscribers that have not answered the close frame are cut.
func TestShutdownDoesNotWaitForASubscriberForEver(t *testing.T) {
	storage := openStore(t)
	openStream(t, storage, "bluesky", event(firstUS, 1))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, storage)
	d.addr = ln.Addr().String()
	go func() { d.ended <- d.Serve(context.Background(), ln) }()
	d.rawSubscribe("/subscribe")
	d.tailing("bluesky", 1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := d.Shutdown(ctx); err == nil {
		t.Error("a subscriber that was cut is not told of")
	}
	if err := <-d.ended; err != nil {
		t.Error(err)
	}
}
