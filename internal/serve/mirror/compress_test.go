package mirror

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// made is a dictionary. To make one takes long.
var made = sync.OnceValues(func() ([]byte, error) {
	var contents [][]byte
	for i := range 20 {
		contents = append(contents, fmt.Appendf(nil, `{"text":"one feed","number":%d,"more":"%x"}`, i, i*i*i*7919))
	}
	return zstd.BuildDict(zstd.BuildDictOptions{ID: 7, Contents: contents, History: bytes.Join(contents, nil), Offsets: [3]int{1, 4, 8}})
})

// dictionaryOf returns a dictionary with that ID, whose content ends with that text.
func dictionaryOf(t testing.TB, id uint32, text string) []byte {
	t.Helper()
	data, err := made()
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	binary.LittleEndian.PutUint32(data[4:], id)
	copy(data[len(data)-len(text):], text)
	return data
}

// Two upstreams may give the same ID to different dictionaries. Each stream's subscribers get
// messages that their dictionary unpacks.
func TestADictionaryIsNotReplacedByAnotherWithItsID(t *testing.T) {
	of := map[string][]byte{"a": dictionaryOf(t, 7, "one feed"), "b": dictionaryOf(t, 7, "the feed of another upstream")}
	p := compressors{of: func(stream string) (v1, v2 []byte) { return of[stream], of[stream] }}
	const text = `{"text":"one feed","number":7,"more":"1c2a1"}`
	for range 2 {
		for stream, dictionary := range of {
			c, err := p.v2(stream)
			if err != nil || !bytes.Equal(c.data, dictionary) {
				t.Fatalf("stream %s has another dictionary: %v", stream, err)
			}
			decoder, err := zstd.NewReader(nil, zstd.WithDecoderDicts(dictionary))
			if err != nil {
				t.Fatal(err)
			}
			got, err := decoder.DecodeAll(c.compress(nil, []byte(text)), nil)
			decoder.Close()
			if err != nil || string(got) != text {
				t.Errorf("stream %s: %q, %v", stream, got, err)
			}
		}
	}
}

func TestI5_ABoundedNumberOfDictionariesIsKept(t *testing.T) {
	var now []byte
	p := compressors{of: func(string) (v1, v2 []byte) { return nil, now }}
	first := dictionaryOf(t, 1, "first")
	for i := range maxDictionaries + 4 {
		now = dictionaryOf(t, uint32(i+2), fmt.Sprint("dictionary ", i))
		if _, err := p.v2("s"); err != nil {
			t.Fatal(err)
		}
		now = first // is used all the time, and stays
		if _, err := p.v2("s"); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.made) != maxDictionaries || !bytes.Equal(p.made[maxDictionaries-1].data, first) {
		t.Errorf("%d dictionaries are kept", len(p.made))
	}
}
