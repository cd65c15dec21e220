package jetstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"github.com/klauspost/compress/zstd"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

const v1DictionaryID = 1612007021

// zstdRequest returns a request that asks for zstd, although the server is on this machine.
func zstdRequest(up *upstream, p jetstream.Protocol) jetstream.Request {
	req := up.serve()
	req.Protocol, req.Compress = p, jetstream.CompressZstd
	return req
}

func TestV2MessagesAreUnpackedWithTheServersDictionary(t *testing.T) {
	dir := t.TempDir()
	up := &upstream{t: t, v2: series(300, v2JSON), dict: newDictionary(t, 7)}
	req := zstdRequest(up, jetstream.ProtocolV2)
	for round := range 3 {
		// A new Negotiator, as after a restart.
		opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator(filepath.Join(dir, "cache"), clockwork.NewRealClock())}
		sink, err := read(t, req, opt)
		sink.expect(t, 1, 301)
		if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressZstd || wire.Fallback != "" || !jetstream.Classify(err).Clean || len(sink.bad) > 0 {
			t.Fatalf("round %d: %+v, %v, bad: %q", round, wire, err, sink.bad)
		}
	}
	if got := up.paths(); slices.Index(got[1:], got[0]) >= 0 || len(got) != 4 {
		t.Errorf("asked for %q", got)
	}
	// A damaged file is not used.
	files, _ := filepath.Glob(filepath.Join(dir, "cache", "*"))
	if len(files) != 1 || !strings.Contains(files[0], ".7.") {
		t.Fatalf("the files are %q", files)
	}
	damaged := slices.Clone(up.dict)
	damaged[len(damaged)-100]++
	if err := os.WriteFile(files[0], damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	sink, _ := read(t, req, jetstream.DialOptions{Negotiator: jetstream.NewNegotiator(filepath.Join(dir, "cache"), clockwork.NewRealClock())})
	sink.expect(t, 1, 301)
	if data, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(data, up.dict) {
		t.Errorf("the damaged file was not replaced (%v)", err)
	}
}

func TestRawFramesAreUnpackedAndKept(t *testing.T) {
	up := &upstream{t: t, v2: series(10, v2JSON), dict: newDictionary(t, 7)}
	req := zstdRequest(up, jetstream.ProtocolV2)
	req.Raw = true
	sink, _ := read(t, req, jetstream.DialOptions{})
	if !slices.Equal(sink.events, up.v2) {
		t.Errorf("got %q", sink.events)
	}
}

func TestADictionaryThatWasReplacedIsFetchedAgain(t *testing.T) {
	dir := t.TempDir()
	up := &upstream{t: t, v2: series(20, v2JSON), dict: newDictionary(t, 7)}
	req := zstdRequest(up, jetstream.ProtocolV2)
	opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator(dir, clockwork.NewRealClock())}
	for _, id := range []uint32{7, 8} {
		up.dict = newDictionary(t, id)
		sink, _ := read(t, req, opt)
		sink.expect(t, 1, 21)
		if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressZstd || wire.Fallback != "" || !strings.Contains(up.last(), fmt.Sprint("zstdDictionary=", id)) {
			t.Errorf("the wire is %+v after %s", wire, up.last())
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 || !strings.Contains(files[0], ".8.") {
		t.Errorf("the files are %q", files)
	}
}

func TestWithoutADictionaryNothingIsPacked(t *testing.T) {
	good, unknown := newDictionary(t, 7), newDictionary(t, 9)
	for name, c := range map[string]struct {
		give func(w http.ResponseWriter)
		want string
	}{
		"not there":  {func(w http.ResponseWriter) { refuse(w, 404, "MethodNotImplemented", "no") }, "404"},
		"garbage":    {func(w http.ResponseWriter) { w.Write([]byte("<html>")) }, "not a zstd dictionary"},
		"cut off":    {func(w http.ResponseWriter) { w.Write(good[:20]) }, "not a zstd dictionary"},
		"too large":  {func(w http.ResponseWriter) { w.Write(make([]byte, 2<<20)) }, "more than 1048576 bytes"},
		"another":    {func(w http.ResponseWriter) { w.Header().Set("X-Zstd-Dictionary-Id", "8"); w.Write(good) }, `says that it is "8", and it is 7`},
		"moved":      {func(w http.ResponseWriter) { w.Header().Set("Location", "/x?secret"); w.WriteHeader(302) }, "302"},
		"not known":  {func(w http.ResponseWriter) { w.Write(unknown) }, "does not know"},
		"never ends": {func(w http.ResponseWriter) { w.Header().Set("Content-Length", "5000"); w.Write(good[:20]) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{t: t, v2: series(5, v2JSON)}
			up.refuse = func(w http.ResponseWriter, r *http.Request) bool {
				dictionary := strings.HasSuffix(r.URL.Path, "getZstdDictionary")
				if dictionary {
					c.give(w)
				}
				return dictionary
			}
			req := zstdRequest(up, jetstream.ProtocolV2)
			opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator(t.TempDir(), clockwork.NewRealClock())}
			for range 2 {
				sink, _ := read(t, req, opt)
				sink.expect(t, 1, 6)
				if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressOff || !strings.Contains(wire.Fallback, c.want) || strings.Contains(wire.Fallback, "secret") {
					t.Errorf("the wire is %+v, want %q", wire, c.want)
				}
			}
			fetched := 0
			for _, p := range up.paths() {
				if strings.HasSuffix(p, "getZstdDictionary") {
					fetched++
				}
			}
			if again := name == "not known" || name == "never ends"; fetched > 2 || !again && fetched > 1 {
				t.Errorf("it was fetched %d times", fetched)
			}
		})
	}
}

func TestV1MessagesAreUnpackedWithTheGivenDictionary(t *testing.T) {
	dict := newDictionary(t, v1DictionaryID)
	up := &upstream{t: t, v1: series(300, eventJSON), dict: dict}
	req := zstdRequest(up, jetstream.ProtocolV1)
	sink, _ := read(t, req, jetstream.DialOptions{V1Dictionary: dict})
	sink.expect(t, 1, 301)
	if sink.conn.Wire().Compression != jetstream.CompressZstd || !strings.Contains(up.last(), "compress=true") {
		t.Errorf("the wire is %+v after %s", sink.conn.Wire(), up.last())
	}
	sink, _ = read(t, req, jetstream.DialOptions{})
	sink.expect(t, 1, 301)
	if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressOff || !strings.Contains(wire.Fallback, "none is configured") {
		t.Errorf("the wire is %+v", wire)
	}
	for want, data := range map[string][]byte{"": dict, "want the v1 servers' one": newDictionary(t, 5), "not a zstd dictionary": []byte("x")} {
		if err := jetstream.CheckV1Dictionary(data); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// That a server has no dictionary for v2 does not prevent zstd after the fallback to v1.
func TestZstdAfterTheFallbackToV1(t *testing.T) {
	dict := newDictionary(t, v1DictionaryID)
	up := &upstream{t: t, v1: series(10, eventJSON), dict: dict}
	up.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		xrpc := strings.HasPrefix(r.URL.Path, "/xrpc")
		if xrpc {
			http.NotFound(w, r)
		}
		return xrpc
	}
	req := zstdRequest(up, jetstream.ProtocolAuto)
	opt := jetstream.DialOptions{V1Dictionary: dict, Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())}
	for range 2 {
		sink, _ := read(t, req, opt)
		sink.expect(t, 1, 11)
		if wire := sink.conn.Wire(); wire.Protocol != jetstream.ProtocolV1 || wire.Compression != jetstream.CompressZstd || strings.Contains(wire.Fallback, "not compressed") {
			t.Errorf("the wire is %+v", wire)
		}
	}
	if n := len(up.paths()); n != 4 {
		t.Errorf("%d requests, want 4: %q", n, up.paths())
	}
}

func TestDeflate(t *testing.T) {
	up := &upstream{t: t, v1: series(500, eventJSON), v2: series(5, v2JSON)}
	req := up.serve()
	req.Protocol, req.Compress = jetstream.ProtocolV1, jetstream.CompressDeflate
	sink, err := read(t, req, jetstream.DialOptions{})
	sink.expect(t, 1, 501)
	if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressDeflate || wire.Fallback != "" || !jetstream.Classify(err).Clean {
		t.Errorf("%+v, %v", wire, err)
	}
	req.Protocol = jetstream.ProtocolV2
	sink, _ = read(t, req, jetstream.DialOptions{})
	sink.expect(t, 1, 6)
	if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressOff || !strings.Contains(wire.Fallback, "v2 servers do not deflate") {
		t.Errorf("the wire is %+v", wire)
	}
	plain := serve(t, func(ctx context.Context, ws *websocket.Conn) { write(ctx, t, ws, eventJSON(1)) })
	plain.Compress = jetstream.CompressDeflate
	sink, _ = read(t, plain, jetstream.DialOptions{})
	sink.expect(t, 1, 2)
	if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressOff || wire.Fallback != "the server does not deflate" {
		t.Errorf("the wire is %+v", wire)
	}
}

// A message that cannot be decompressed ends the connection. The next connection is not compressed.
func TestI7_GarbageDegradesToUncompressed(t *testing.T) {
	dict := newDictionary(t, 7)
	good := newEncoder(t, dict).EncodeAll([]byte(v2JSON(1)), nil)
	broken := slices.Clone(good)
	broken[len(broken)-2]++ // in its checksum
	other := newEncoder(t, newDictionary(t, 9)).EncodeAll([]byte(v2JSON(2)), nil)
	for name, frame := range map[string][]byte{"not zstd": []byte(v2JSON(2)), "cut off": good[:len(good)-3], "a wrong checksum": broken, "another dictionary": other} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{t: t, v2: series(3, v2JSON), dict: dict, packed: [][]byte{good, frame, good}}
			req := zstdRequest(up, jetstream.ProtocolV2)
			dir := t.TempDir()
			clock := clockwork.NewFakeClock()
			opt := jetstream.DialOptions{Negotiator: jetstream.NewNegotiator(dir, clock)}
			sink, err := read(t, req, opt)
			sink.expect(t, 1, 2)
			if end := jetstream.Classify(err); end.Cause != jetstream.CauseCompression || end.Clean || !strings.Contains(end.Reason, "cannot be unpacked") || sink.frames != 1 {
				t.Fatalf("the ending is %+v after %d frames", end, sink.frames)
			}
			sink, _ = read(t, req, opt)
			sink.expect(t, 1, 4)
			if wire := sink.conn.Wire(); wire.Compression != jetstream.CompressOff || !strings.Contains(wire.Fallback, "cannot be unpacked") {
				t.Errorf("the wire is %+v", wire)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
				t.Errorf("the dictionary was kept: %q", files)
			}
			clock.Advance(time.Hour)
			up.packed = [][]byte{good}
			if sink, _ = read(t, req, opt); sink.conn.Wire().Compression != jetstream.CompressZstd {
				t.Errorf("an hour later the wire is %+v", sink.conn.Wire())
			}
		})
	}
}

func TestI7_BombsAreSkipped(t *testing.T) {
	dict := newDictionary(t, 7)
	encoder := newEncoder(t, dict)
	big := strings.Replace(v2JSON(1), "2026-08-01T10:08:18Z", strings.Repeat("x", 1<<20), 1)
	sized := encoder.EncodeAll([]byte(big), nil)
	var unsized bytes.Buffer
	encoder.Reset(&unsized)
	fmt.Fprint(encoder, big)
	encoder.Close()
	packed := [][]byte{encoder.EncodeAll([]byte(v2JSON(1)), nil), sized, unsized.Bytes(), encoder.EncodeAll([]byte(v2JSON(2)), nil)}
	for _, raw := range []bool{false, true} {
		up := &upstream{t: t, v2: []string{}, dict: dict, packed: packed}
		req := zstdRequest(up, jetstream.ProtocolV2)
		req.Raw = raw
		sink, err := read(t, req, jetstream.DialOptions{MaxMessageSize: 10_000})
		if !jetstream.Classify(err).Clean || len(sink.events) != 2 || len(sink.bad) != 0 || sink.frames != 4 || len(sink.oversized) != 2 {
			t.Errorf("raw = %v: %v; %d events, %d frames, skipped: %+v, bad: %q", raw, err, len(sink.events), sink.frames, sink.oversized, sink.bad)
		}
		for _, s := range sink.oversized {
			if s.RKey != "r1" || s.Seq != 1 || s.Size != int64(len(big)) || s.After != 1 {
				t.Errorf("raw = %v: what is known is %+v", raw, s)
			}
		}
	}
}

func FuzzZstdFrame(f *testing.F) {
	dict := newDictionary(f, v1DictionaryID)
	encoder := newEncoder(f, dict)
	pack := func(text string) []byte { return encoder.EncodeAll([]byte(text), nil) }
	f.Add(pack(eventJSON(1)))
	f.Add(append(pack(`{"did":`), pack(`"a","time_us":1,"kind":"x"}`)...))
	f.Add(pack(strings.Repeat(" ", 5000) + "{}"))
	// Its header says that it is empty, but it is not.
	f.Add([]byte("(\xb5/\xfd0\x000\x00\x0000000000y\xa9CA700I0|0\x959A900\a0"))
	f.Add([]byte{})
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 4000 {
			return
		}
		conn := pipeTo(t, jetstream.CompressZstd, jetstream.DialOptions{V1Dictionary: dict, MaxMessageSize: 4096}, func(c net.Conn) {
			c.Write(append(binary.BigEndian.AppendUint16([]byte{0x82, 126}, uint16(len(packed))), packed...))
			fmt.Fprint(c, rawText(eventJSON(2)))
		})
		sink := &collector{conn: conn}
		rest, err := conn.Run(&messages.Batch{}, sink, jetstream.Limits{Events: 1 << 20, Bytes: 1 << 20, Delay: time.Hour})
		end := jetstream.Classify(err)
		if end.Cause != jetstream.CauseCompression && end.Cause != jetstream.CauseEOF || len(end.Reason) > 300 {
			t.Fatalf("the ending is %+v", end)
		}
		if cap(rest.Buf) > 1<<18 || rest.Frames != len(rest.Events)+rest.Bad+len(rest.Oversized) || len(sink.bad) != rest.Bad {
			t.Fatalf("%d bytes; %d frames, %d events, %d bad, %d reported", cap(rest.Buf), rest.Frames, len(rest.Events), rest.Bad, len(sink.bad))
		}
		unpacked, refErr := referenceDecoder(t, dict).DecodeAll(packed, nil)
		if ok := refErr == nil && len(unpacked) <= 4096; ok && end.Cause != jetstream.CauseEOF {
			t.Fatalf("%q unpacks to %q; the ending is %+v", packed, unpacked, end)
		} else if event, _, _, is := reference(unpacked); ok && is && depth(unpacked) <= 500 && (len(rest.Events) != 2 || string(rest.Bytes(0)) != string(unpacked) || rest.Events[0].TimeUS != event.TimeUS) {
			t.Fatalf("%q unpacks to %q, and the batch holds %q", packed, unpacked, rest.Buf)
		}
	})
}

func referenceDecoder(t testing.TB, dict []byte) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderDicts(dict), zstd.WithDecoderMaxMemory(4096))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// packedCorpus returns the compressed frames of a file, and what each of them must decompress to.
func packedCorpus(t testing.TB, name string) (packed, plain [][]byte) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, name+".zst.frames"))
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := binary.LittleEndian.Uint32(data)
		packed = append(packed, data[4:4+n])
		data = data[4+n:]
	}
	return packed, corpus(t, name+".zst.expect.jsonl")
}

func TestThePackedCorpusUnpacksToTheByte(t *testing.T) {
	for name, protocol := range map[string]jetstream.Protocol{"v1_1612007021": jetstream.ProtocolV1, "v2_20260811": jetstream.ProtocolV2} {
		packed, plain := packedCorpus(t, "captured_"+protocol.String())
		if packed == nil {
			continue
		}
		dict, err := os.ReadFile(filepath.Join(os.Getenv("TEMPEST_CORPUS"), name+".zdict"))
		if err != nil {
			t.Fatal(err)
		}
		up := &upstream{t: t, v1: []string{}, v2: []string{}, dict: dict, packed: packed}
		req := zstdRequest(up, protocol)
		req.Raw = true
		sink, _ := read(t, req, jetstream.DialOptions{V1Dictionary: dict})
		if len(sink.events) != len(plain) || len(sink.bad) > 0 || sink.conn.Wire().Compression != jetstream.CompressZstd {
			t.Fatalf("%s: %d events of %d, bad: %q, %+v", name, len(sink.events), len(plain), sink.bad, sink.conn.Wire())
		}
		for i, want := range plain {
			if sink.events[i] != string(want) {
				t.Fatalf("%s: frame %d unpacks to\n%s, want\n%s", name, i, sink.events[i], want)
			}
		}
	}
}
