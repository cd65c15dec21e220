package jetsim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"tempestd/internal/archive/dagcbor"
)

// drawValue draws a value of the data model, as JSON in the form of the network's encoders.
func drawValue(t *rapid.T, depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]any{nil, true, false}).Draw(t, "plain")
	case 1:
		return rapid.Int64().Draw(t, "integer")
	case 2, 3:
		return drawText(t)
	case 4:
		data := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		return map[string]any{"$bytes": base64.RawStdEncoding.EncodeToString(data)}
	case 5:
		codec := rapid.SampledFrom([]byte{dagcbor.CodecRaw, dagcbor.CodecDAGCBOR}).Draw(t, "codec")
		return map[string]any{"$link": dagcbor.Sum(codec, rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "content")).String()}
	case 6:
		list := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
		for i := range list {
			list[i] = drawValue(t, depth-1)
		}
		return list
	}
	return drawMap(t, depth)
}

func drawMap(t *rapid.T, depth int) map[string]any {
	m := map[string]any{}
	for range rapid.IntRange(0, 5).Draw(t, "members") {
		if key := drawText(t); key == "" || key[0] != '$' {
			m[key] = drawValue(t, depth-1)
		}
	}
	return m
}

func drawText(t *rapid.T) string {
	if rapid.Bool().Draw(t, "odd") {
		runes := []rune{0, 1, 8, 9, 10, 12, 13, 31, 127, 128, '"', '\\', '<', '>', '&', '/', 0x2028, 0x2029, 0xe9, 0xffff, 0x1f300, 'a', 'b', ' '}
		return string(rapid.SliceOfN(rapid.SampledFrom(runes), 0, 12).Draw(t, "runes"))
	}
	return rapid.StringN(0, 12, -1).Draw(t, "text")
}

// What the simulator archives of a record comes back from the archive's reader as the same JSON, and
// another decoder reads the same from it.
func TestDrawnRecordsSurviveTheArchive(t *testing.T) {
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 120 { // 100 checks of 120 records
			record, err := json.Marshal(drawMap(t, 3))
			if err != nil {
				t.Fatal(err)
			}
			archived := appendCBOR(nil, string(record))
			var e dagcbor.Encoder
			got, err := e.AppendJSON(nil, archived)
			if err != nil || !bytes.Equal(got, record) {
				t.Fatalf("%x:\n got %s, %v\nwant %s", archived, got, err, record)
			}
			var other any
			if err := cbor.Unmarshal(archived, &other); err != nil {
				t.Fatalf("%s: %v", record, err)
			}
			n++
		}
	})
	if n < 10_000 {
		t.Errorf("%d records", n)
	}
}

// An archived network's records have the CIDs of their contents, deletes remove what was created, and
// nothing else in the network changes with the archive.
func TestAnArchivedNetwork(t *testing.T) {
	w := newNetwork(1, 200, true, true, fixedMade(dictionaryBegan, 2000))
	created := map[string]bool{}
	deletes, hits := 0, 0
	shapes := map[shape]int{}
	for n := range int64(20_000) {
		e := w.event(n)
		shapes[e.shape]++
		spec := &w.specs[e.shape]
		if spec.collection == "" {
			continue
		}
		c := w.commitOf(&e)
		path := fmt.Sprintf("%d/%s/%s", e.account, spec.collection, w.appendKey(nil, &e, &c))
		switch spec.operation {
		case "create":
			created[path] = true
		case "delete":
			if deletes++; created[path] {
				hits++
			}
		}
		if spec.operation == "delete" {
			continue
		}
		bits := c.bits
		record := w.appendRecord(nil, &bits, &e, c.key)
		cid := dagcbor.Sum(dagcbor.CodecDAGCBOR, appendCBOR(nil, string(record))).String()
		if got := string(w.appendRecordCID(nil, &e, &c)); got != cid {
			t.Fatalf("content %d has the CID %s, want %s", n, got, cid)
		}
		for _, frame := range [][]byte{w.appendV1(nil, &e, 1, 1), w.appendV2(nil, &e, 1, 1, true)} {
			if !bytes.Contains(frame, record) || !bytes.Contains(frame, []byte(cid)) {
				t.Fatalf("content %d: %s", n, frame)
			}
		}
	}
	if hits < deletes/3 || shapes[variety] < 100 {
		t.Errorf("%d of %d deletes remove a record; %d records with every type", hits, deletes, shapes[variety])
	}
}
