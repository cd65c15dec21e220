package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"tempestd/internal/archive"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/jss"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var dagMode = must(cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode())

func encode(v any) []byte { return must(dagMode.Marshal(v)) }

const did = "did:plc:abcdefghijklmnopqrstuvwx"

// row is one of the kind, with everything that a row may have.
func row(kind jss.Kind, payload any) jss.Row {
	r := jss.Row{Seq: 42, WitnessedUS: 1795000000000123, Kind: kind, DID: []byte(did)}
	if payload != nil {
		r.Payload = encode(payload)
	}
	if kind.Commit() {
		r.Collection, r.Key, r.Rev = []byte("app.bsky.feed.post"), []byte("3lqcnvhqk622d"), []byte("3migo7fijwi2k")
	}
	return r
}

func TestFramesAreThoseOfTheSocket(t *testing.T) {
	record := map[string]any{"$type": "app.bsky.feed.post", "text": "a < b\u2028", "n": -3}
	cid := dagcbor.Sum(dagcbor.CodecDAGCBOR, encode(record)).String()
	commit := func(operation string) string {
		return `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","cid":"` + cid + `","collection":"app.bsky.feed.post","did":"` + did +
			`","operation":"` + operation + `","record":{"$type":"app.bsky.feed.post","n":-3,"text":"a \u003c b\u2028"},"rev":"3migo7fijwi2k","rkey":"3lqcnvhqk622d","seq":42,` +
			`"time":"2026-11-18T11:06:40.000123Z","witnessedAt":"2026-11-18T11:06:40.000123Z"}}`
	}
	for name, c := range map[string]struct {
		row  jss.Row
		want string
	}{
		"create": {row(jss.Create, record), commit("create")},
		"update": {row(jss.Update, record), commit("update")},
		"resync": {row(jss.Resync, record), commit("create")},
		"delete": {
			row(jss.Delete, nil),
			`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","collection":"app.bsky.feed.post","did":"` + did +
				`","operation":"delete","rev":"3migo7fijwi2k","rkey":"3lqcnvhqk622d","seq":42,"time":"2026-11-18T11:06:40.000123Z","witnessedAt":"2026-11-18T11:06:40.000123Z"}}`,
		},
		"identity": {
			row(jss.Identity, map[string]any{"did": did, "handle": "a\u2028<b>.example", "seq": 7, "time": "2026-11-18T12:26:40.000Z", "new": 1}),
			`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#identity","did":"` + did + `","identity":{"did":"` + did +
				"\",\"handle\":\"a\u2028\\u003cb\\u003e.example\",\"seq\":7,\"time\":\"2026-11-18T12:26:40.000Z\"},\"seq\":42," +
				`"time":"2026-11-18T11:06:40.000123Z","witnessedAt":"2026-11-18T11:06:40.000123Z"}}`,
		},
		"account": {
			row(jss.Account, map[string]any{"active": false, "did": did, "seq": 8, "status": "deleted", "time": "2026-11-18T12:26:40.000Z"}),
			`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#account","account":{"active":false,"did":"` + did +
				`","seq":8,"status":"deleted","time":"2026-11-18T12:26:40.000Z"},"did":"` + did + `","seq":42,"time":"2026-11-18T11:06:40.000123Z","witnessedAt":"2026-11-18T11:06:40.000123Z"}}`,
		},
		"sync": {
			row(jss.Sync, map[string]any{"blocks": []byte{1, 2}, "did": did, "rev": "3migo7fijwi2k", "seq": 9, "time": "2026-11-18T12:26:40.000Z"}),
			`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#sync","did":"` + did + `","seq":42,"sync":{"blocks":{"$bytes":"AQI"},"did":"` + did +
				`","rev":"3migo7fijwi2k","seq":9,"time":"2026-11-18T12:26:40.000Z"},"time":"2026-11-18T11:06:40.000123Z","witnessedAt":"2026-11-18T11:06:40.000123Z"}}`,
		},
	} {
		r := archive.Renderer{Witnessed: true}
		got, err := r.AppendFrame(nil, &c.row)
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", name, got, err, c.want)
		}
		var e messages.Event
		if _, err := jetstream.Unwrap(nil, got, &e); err != nil {
			t.Errorf("%s: the reader of sockets: %v", name, err)
		}
		r.Witnessed = false
		if got, err = r.AppendFrame(nil, &c.row); err != nil || bytes.Contains(got, []byte("witnessedAt")) {
			t.Errorf("%s of an older server: %s, %v", name, got, err)
		}
	}
	indexed := row(jss.Delete, nil)
	indexed.IndexedUS = 1
	r := archive.Renderer{Witnessed: true}
	if got, _ := r.AppendFrame(nil, &indexed); !bytes.Contains(got, []byte(`"time":"1970-01-01T00:00:00.000001Z","witnessedAt":"2026-`)) {
		t.Errorf("an event with a time of its own: %s", got)
	}
}

// What the socket leaves out is told apart from damage.
func TestRowsThatCannotBeDelivered(t *testing.T) {
	cut := row(jss.Create, map[string]any{"a": 1})
	cut.Payload = cut.Payload[:len(cut.Payload)-1]
	none := row(jss.Create, nil)
	link := cbor.Tag{Number: 42, Content: append([]byte{0, 1, 0x71, 0x13, 0x20}, make([]byte, 32)...)}
	for name, c := range map[string]struct {
		row  jss.Row
		kind error
	}{
		"a float":              {row(jss.Create, map[string]any{"a": 1.5}), dagcbor.ErrOutsideModel},
		"a list":               {row(jss.Create, []any{1}), dagcbor.ErrOutsideModel},
		"bytes":                {row(jss.Update, []byte{1}), dagcbor.ErrOutsideModel},
		"text":                 {row(jss.Update, "x"), dagcbor.ErrOutsideModel},
		"a foreign link":       {row(jss.Resync, map[string]any{"a": link}), dagcbor.ErrOutsideModel},
		"a record that is cut": {cut, dagcbor.ErrMalformed},
		"no record":            {none, dagcbor.ErrMalformed},
		"a message of none":    {row(jss.Identity, nil), dagcbor.ErrMalformed},
		"a list of a message":  {row(jss.Account, []any{1}), dagcbor.ErrOutsideModel},
		"a kind of later":      {row(8, nil), jss.ErrUnknown},
	} {
		var r archive.Renderer
		got, err := r.AppendFrame([]byte("before"), &c.row)
		if !errors.Is(err, c.kind) || string(got) != "before" || !strings.Contains(err.Error(), "42") {
			t.Errorf("%s: %s, %v, want %v", name, got, err, c.kind)
		}
	}
}

// With TEMPEST_CORPUS, the events of a real archive are what a reader of sockets takes, and their
// records what another decoder reads.
func TestGoldenRows(t *testing.T) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	file := must(os.ReadFile(filepath.Join(dir, "archive", "golden_corpus_segment.jss")))
	h := must(jss.ParseHeader(file))
	d := must(jss.NewDecompressor(1 << 20))
	defer d.Close()
	n := 0
	for _, info := range must(jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])) {
		b := must(jss.ParseBlock(must(d.Unpack(nil, file[info.FrameOffset():][:info.Size]))))
		var r archive.Renderer
		for row := (jss.Row{}); b.Next(&row); n++ {
			frame := must(r.AppendFrame(nil, &row))
			var e messages.Event
			entry, err := jetstream.Unwrap(nil, frame, &e)
			if err != nil {
				t.Fatalf("%s: %v", frame, err)
			}
			var got struct {
				Commit struct{ Record any }
			}
			if err := json.Unmarshal(entry, &got); err != nil {
				t.Fatal(err)
			}
			var want any
			if err := cbor.Unmarshal(row.Payload, &want); err != nil {
				t.Fatal(err)
			}
			if a, b := must(json.Marshal(got.Commit.Record)), must(json.Marshal(plain(want))); !bytes.Equal(a, b) {
				t.Errorf("row %d:\n got %s\nwant %s", row.Seq, a, b)
			}
		}
	}
	if n != 23 {
		t.Errorf("%d rows", n)
	}
}

// plain is what was decoded from CBOR in the form of JSON.
func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := map[string]any{}
		for k, v := range v {
			out[k.(string)] = plain(v)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case cbor.Tag:
		return map[string]any{"$link": must(dagcbor.ParseCID(v.Content.([]byte)[1:])).String()}
	}
	return v
}

func BenchmarkAppendFrame(b *testing.B) {
	post := row(jss.Create, map[string]any{"$type": "app.bsky.feed.post", "text": strings.Repeat("the quick brown fox ", 12), "langs": []any{"en"}, "createdAt": "2026-11-28T12:00:00.000Z"})
	r := archive.Renderer{Witnessed: true}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = r.AppendFrame(out[:0], &post)
	}
}
