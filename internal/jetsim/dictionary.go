package jetsim

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
)

// These are the zstd dictionaries of the simulator. It trains them with frames of separate
// networks, each seeded by the dictionary's id. So an id means the same bytes in every process,
// which is necessary because clients cache dictionaries by id.
const (
	v2DictionaryID    = 20770001 // the first id; every rotation adds one
	dictionarySamples = 120      // frames to train with; the history has as many again
	zstdWindow        = 128 << 10
)

// dictionary is a zstd dictionary and its encoder. It is safe for concurrent use.
type dictionary struct {
	id    uint32
	bytes []byte
	enc   *zstd.Encoder
}

// newDictionary returns the dictionary whose bytes are b: the zstd format, with its header.
func newDictionary(b []byte) (*dictionary, error) {
	info, err := zstd.InspectDictionary(b)
	if err != nil {
		return nil, fmt.Errorf("jetsim: not a zstd dictionary: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderDict(b), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("jetsim: zstd dictionary: %w", err)
	}
	return &dictionary{id: info.ID(), bytes: b, enc: enc}, nil
}

// dictionaryBegan is the time of the first sample, 2026-01-01 in Unix µs.
const dictionaryBegan = 1_767_225_600_000_000

// trainDictionary trains a dictionary with the given id for the frames of a protocol.
func trainDictionary(id uint32, p Protocol) (*dictionary, error) {
	line := fixedMade(dictionaryBegan, 2_000)
	w := newNetwork(uint64(id), 1000, true, false, line)
	frame := func(n int64) []byte {
		e := w.event(n)
		at := line.at(n)
		if p == ProtocolV2 {
			return w.appendV2(nil, &e, n+1, at, false)
		}
		return w.appendV1(nil, &e, n+1, at)
	}
	var contents [][]byte
	var history []byte
	for n := range int64(dictionarySamples) {
		contents = append(contents, frame(n))
		history = append(history, frame(n+dictionarySamples)...)
	}
	b, err := zstd.BuildDict(zstd.BuildDictOptions{
		ID: id, Contents: contents, History: history, Offsets: [3]int{1, 4, 8}, Level: zstd.SpeedFastest,
	})
	if err != nil {
		return nil, fmt.Errorf("jetsim: train dictionary %d: %w", id, err)
	}
	return newDictionary(b)
}

// dictionaries holds the dictionaries of one server. Each is made at its first use.
type dictionaries struct {
	mu    sync.Mutex
	given []byte // the v1 dictionary from Options; nil to train one
	v1    *dictionary
	v2    *dictionary
	v2ID  uint32
}

// forV1 returns the dictionary that v1 clients must have in advance.
func (d *dictionaries) forV1() (*dictionary, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.v1 == nil {
		if d.given != nil {
			d.v1, err = newDictionary(d.given)
		} else {
			d.v1, err = trainDictionary(atproto.DictionaryV1, ProtocolV1)
		}
	}
	return d.v1, err
}

// forV2 returns the current dictionary, which v2 clients download.
func (d *dictionaries) forV2() (*dictionary, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.v2 == nil || d.v2.id != d.v2ID {
		d.v2, err = trainDictionary(d.v2ID, ProtocolV2)
	}
	return d.v2, err
}

func (d *dictionaries) current() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.v2ID
}

func (d *dictionaries) rotate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.v2ID++
}

// V1Dictionary returns the zstd dictionary of the v1 endpoint, to be given to clients:
// Options.V1Dictionary, or a dictionary of the simulator's own under the id of the real one. Real
// clients embed the real dictionary; they decode only garbage unless Options.V1Dictionary is the
// real one.
func (s *Sim) V1Dictionary() ([]byte, error) {
	d, err := s.dicts.forV1()
	if err != nil {
		return nil, err
	}
	return d.bytes, nil
}

// DictionaryID is the id of the dictionary that v2 clients must use at the moment.
func (s *Sim) DictionaryID() uint32 { return s.dicts.current() }

// handleDictionary serves the v2 dictionary.
func (s *Sim) handleDictionary(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.admit(w, ProtocolV2); !ok {
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		subscribe.Invalid("%v", err).Answer(w, subscribe.V2)
		return
	}
	d, err := s.dicts.forV2()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if q.Has("id") {
		id, err := strconv.ParseInt(q.Get("id"), 10, 64)
		if err != nil {
			subscribe.Invalid("id must be an integer zstd dictionary ID").Answer(w, subscribe.V2)
			return
		}
		if id != int64(d.id) {
			subscribe.DictionaryNotFound(id, d.id).Answer(w, subscribe.V2)
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", fmt.Sprintf(`"zstd-dict-%d"`, d.id))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set(atproto.DictionaryHeader, strconv.FormatUint(uint64(d.id), 10))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.bytes))
}
