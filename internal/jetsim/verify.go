package jetsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"os"
	"sort"
)

// History is a fixed piece of ground truth: what a server had ingested when it was taken. It is safe for concurrent use.
type History struct {
	net    *network
	log    ingestLog
	legacy bool
}

// OpenHistory reads the history at path, which a running simulator may be writing.
func OpenHistory(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("jetsim: %w", err)
	}
	defer f.Close()
	head := make([]byte, headerSize)
	n, _ := io.ReadFull(f, head) // a short header is refused for what it is
	h, err := decodeHeader(head[:n])
	if err != nil {
		return nil, fmt.Errorf("jetsim: history %s: %w", path, err)
	}
	log, _, _, err := readLog(f)
	if err != nil {
		return nil, fmt.Errorf("jetsim: history %s: %w", path, err)
	}
	return &History{net: newNetwork(h.seed, int(h.accounts)), log: log, legacy: h.legacy}, nil
}

// Verify compares entries, the JSON of a stream's events from its oldest entry on, with everything the server has ingested by now.
func (s *Sim) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	return s.History().Verify(entries, opt)
}

// Verify compares entries, the JSON of a stream's events from its oldest entry on, with the history. It reads them once and
// keeps nothing of them; memory is one bit a content. It returns the iteration's first error, or that of a bad query.
func (h *History) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	f, err := parseFilter(opt.Query)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{History: h, filter: f, stored: make(bitset, h.log.contents/64+1), last: -1, firstIndex: -1}
	for entry, err := range entries {
		if err != nil {
			return Report{}, err
		}
		v.entry(entry)
	}
	v.missing(opt)
	return v.Report, nil
}

type bitset []uint64

// set sets bit i and says whether it was set before.
func (b bitset) set(i int64) bool {
	had := b.has(i)
	b[i/64] |= 1 << (i % 64)
	return had
}

func (b bitset) has(i int64) bool { return b[i/64]>>(i%64)&1 != 0 }

func (b bitset) count() (n int64) {
	for _, w := range b {
		n += int64(bits.OnesCount64(w))
	}
	return n
}

// verifier is one pass over a stream.
type verifier struct {
	*History
	Report
	filter     filter
	stored     bitset // by content
	last       int    // log index of the newest version seen
	firstIndex int    // log index of the first entry
	buf        []byte
}

func (v *verifier) example(format string, args ...any) {
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// entry judges one entry.
func (v *verifier) entry(b []byte) {
	index, ok := v.exact(b)
	if !ok {
		var e decoded
		err := json.Unmarshal(b, &e)
		if err == nil && e.Kind == "gap" {
			v.Gaps++
			return
		}
		v.Stored++
		if index, ok = v.find(e.TimeUS, e.Cursor); err != nil || !ok || !v.same(index, e) {
			v.Foreign++
			v.example("entry %d is no event sent: %.200q", v.Stored, b)
			return
		}
		v.Altered++
		v.example("entry %d is not as it was sent: %.200q", v.Stored, b)
	} else {
		v.Stored++
	}
	if !v.wants(index) {
		v.Foreign++
		v.example("entry %d is not what the filter wants: %s", v.Stored, v.describe(index))
		return
	}
	if v.firstIndex < 0 {
		v.firstIndex = index
	}
	if r := v.log.at(index); v.stored.set(r.num) {
		v.Duplicated++
		v.example("entry %d is there already: %s", v.Stored, v.describe(index))
	} else if index < v.last {
		v.OutOfOrder++
		v.example("entry %d should stand before %s: %s", v.Stored, v.describe(v.last), v.describe(index))
	}
	v.last = max(v.last, index)
}

func (v *verifier) describe(index int) string {
	r := v.log.at(index)
	generation := sort.SearchInts(v.log.generations, index+1) - 1
	return fmt.Sprintf("event %d (generation %d, seq %d, time_us %d, account %s)", r.num, generation, r.seq, r.timeUS, v.net.did(v.net.event(r.num).account))
}

// exact finds the version that has exactly these bytes. It reads where the simulator's frames hold their time and seq, and nothing
// more: it is the comparison that decides.
func (v *verifier) exact(b []byte) (int, bool) {
	const timeAt = len(`{"did":"`) + didLen + len(`","time_us":`)
	if len(b) < timeAt {
		return 0, false
	}
	timeUS, rest := leadingNumber(b[timeAt:])
	var seq int64
	if after, ok := bytes.CutPrefix(rest, []byte(`,"cursor":`)); ok {
		seq, _ = leadingNumber(after)
	}
	index, ok := v.find(timeUS, seq)
	if !ok {
		return 0, false
	}
	r := v.log.at(index)
	v.buf = v.net.appendFrame(v.buf[:0], v.net.event(r.num), v.seqOnWire(r), r.timeUS)
	return index, bytes.Equal(v.buf, b)
}

func (h *History) seqOnWire(r *record) int64 {
	if h.legacy {
		return 0
	}
	return r.seq
}

func leadingNumber(b []byte) (n int64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' && n < 1<<59 {
		n = n*10 + int64(b[0]-'0')
		b = b[1:]
	}
	return n, b
}

// find finds the version with that time and seq. Times rise along the whole log, so it is one binary search; most often the version is
// the one after the last.
func (v *verifier) find(timeUS, seq int64) (int, bool) {
	is := func(i int) bool {
		r := v.log.at(i)
		return r.timeUS == timeUS && v.seqOnWire(r) == seq
	}
	if next := v.last + 1; next < v.log.n && is(next) {
		return next, true
	}
	i := sort.Search(v.log.n, func(i int) bool { return v.log.at(i).timeUS >= timeUS })
	for ; i < v.log.n && v.log.at(i).timeUS == timeUS; i++ {
		if is(i) {
			return i, true
		}
	}
	return 0, false
}

// decoded is an event's identity, read by encoding/json.
type decoded struct {
	DID    string `json:"did"`
	TimeUS int64  `json:"time_us"`
	Cursor int64  `json:"cursor"`
	Kind   string `json:"kind"`
	Commit struct {
		Rev        string `json:"rev"`
		Operation  string `json:"operation"`
		Collection string `json:"collection"`
		Rkey       string `json:"rkey"`
	} `json:"commit"`
	Identity struct {
		Seq int64 `json:"seq"`
	} `json:"identity"`
	Account struct {
		Seq int64 `json:"seq"`
	} `json:"account"`
}

// same says whether the version at index has e's identity.
func (v *verifier) same(index int, e decoded) bool {
	r := v.log.at(index)
	v.buf = v.net.appendFrame(v.buf[:0], v.net.event(r.num), v.seqOnWire(r), r.timeUS)
	var sent decoded
	return json.Unmarshal(v.buf, &sent) == nil && sent == e
}

// missing counts what should be there and is not.
func (v *verifier) missing(opt VerifyOptions) {
	first := v.log.first
	if opt.FromFirstStored {
		first = v.firstIndex
	}
	settled := v.settled(opt.AllowTail)
	early := v.stored.count() // stored, but sent before first
	if first >= 0 {
		for index := range v.expected(first) {
			r := v.log.at(index)
			switch {
			case v.stored.has(r.num):
				early--
				v.Sent++
			case !v.wants(index):
			case settled(r.num):
				v.Sent++
				v.Lost++
				v.example("lost: %s", v.describe(index))
			default:
				v.Sent++
				v.Pending++
			}
		}
	}
	v.Sent += early
}

// settled says of a missing content whether it is lost: with allowTail only one that the server serves before something that
// is stored.
func (v *verifier) settled(allowTail bool) func(num int64) bool {
	if !allowTail {
		return func(int64) bool { return true }
	}
	end := v.log.served()
	for end > 0 && !v.stored.has(v.log.ranked(end-1).num) {
		end--
	}
	before := make(bitset, len(v.stored))
	for rank := range end {
		before.set(v.log.ranked(rank).num)
	}
	return before.has
}

// wants says whether the version at index passes the subscription's filter.
func (v *verifier) wants(index int) bool {
	if v.filter.all() {
		return true
	}
	r := v.log.at(index)
	e := v.net.event(r.num)
	if !v.filter.wants(v.net.did(e.account), v.net.specs[e.shape].collection) {
		return false
	}
	v.buf = v.net.appendFrame(v.buf[:0], e, v.seqOnWire(r), r.timeUS)
	return v.filter.fits(len(v.buf))
}

// expected yields, in log order, one version of every content that a subscription beginning with the version at first is to get: the
// rest of its generation, and of later ones what was new then.
func (h *History) expected(first int) iter.Seq[int] {
	return func(yield func(int) bool) {
		own := sort.SearchInts(h.log.generations, first+1) // the generation after first's
		end := h.log.n
		if own < len(h.log.generations) {
			end = h.log.generations[own]
		}
		known := int64(-1) // greatest content ingested by the end of first's generation
		for i := range end {
			known = max(known, h.log.at(i).num)
		}
		for i := first; i < h.log.n; i++ {
			if i >= end {
				num := h.log.at(i).num
				if num <= known {
					continue
				}
				known = num
			}
			if !yield(i) {
				return
			}
		}
	}
}
