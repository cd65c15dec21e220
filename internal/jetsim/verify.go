package jetsim

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"slices"

	"tempestd/internal/subscribe"
)

// Verify compares entries with everything that the server has ingested so far. Entries are the JSON
// of a stream's events, from its oldest entry on.
func (s *Sim) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	return s.History().Verify(entries, opt)
}

// Verify compares entries with the history. Entries are the JSON of a stream's events, from its
// oldest entry on. It reads them once and keeps none; it needs a few bits of memory per content. It
// returns the first error of the iteration, or the error of an invalid query.
func (h *History) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	return verify([]*History{h}, entries, opt)
}

// verify compares entries with what the servers of one network ingested.
func verify(servers []*History, entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	v := &verifier{servers: servers, opt: opt, net: servers[0].net}
	if err := opt.Protocol.validate(); err != nil {
		return Report{}, fmt.Errorf("jetsim: %w", err)
	}
	if err := v.setFilter(opt.Query); err != nil {
		return Report{}, err
	}
	var contents int64
	for _, h := range servers {
		contents = max(contents, h.log.contents)
		v.newest = append(v.newest, map[int]int{})
	}
	v.stored, v.dropped, v.covered = newBitset(contents), newBitset(contents), newBitset(contents)
	v.noteDropped()
	v.last.index, v.first.index = -1, -1
	for entry, err := range entries {
		if err != nil {
			return Report{}, err
		}
		v.entry(entry)
	}
	v.missing()
	return v.Report, nil
}

// verifier is one pass over a stream.
type verifier struct {
	Report
	servers []*History
	net     *network
	opt     VerifyOptions
	filter  subscribe.Filter

	stored  bitset // contents in the stream so far
	dropped bitset // contents that at least one server no longer serves
	covered bitset // dropped contents that a gap entry includes

	newest []map[int]int // the newest version in the stream, by server and generation
	last   version       // the version of the previous entry
	first  version       // the version of the first entry; its index is -1 before that
	buf    []byte

	entryBuf []byte
}

// setFilter sets the filter of a subscription by either protocol.
func (v *verifier) setFilter(q url.Values) error {
	f, err := subscribe.FilterV1(slices.Concat(q["wantedCollections"], q["collections"]), slices.Concat(q["wantedDids"], q["dids"]))
	if err != nil {
		return err
	}
	f.Kinds = subscribe.KindsV2
	if err := f.SetKinds(q["kinds"]); err != nil {
		return err
	}
	size, err := subscribe.ParseFilterV1(url.Values{"maxMessageSizeBytes": q["maxMessageSizeBytes"]})
	f.MaxBytes = size.MaxBytes
	v.filter = f
	return err
}

func (v *verifier) example(format string, args ...any) {
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// entry evaluates one entry.
func (v *verifier) entry(b []byte) {
	if sent, repaired := asSent(b); repaired {
		v.repaired(sent)
		return
	}
	at, ok := v.exact(b)
	if !ok {
		var e decoded
		err := json.Unmarshal(b, &e)
		if err == nil && e.Kind == "gap" {
			v.gap(b)
			return
		}
		v.Stored++
		if at, ok = v.altered(e); err != nil || !ok {
			v.Foreign++
			v.example("entry %d is no event sent: %.200q", v.Stored, b)
			return
		}
		v.Altered++
		v.example("entry %d is not as it was sent: %.200q", v.Stored, b)
	} else {
		v.Stored++
	}
	h := v.servers[at.server]
	r := h.log.at(at.index)
	if may, _ := v.wanted(h, r); !may {
		v.Foreign++
		v.example("entry %d is not what the subscription wants: %s", v.Stored, v.describe(at))
		return
	}
	if v.first.index < 0 {
		v.first = at
	}
	if before, ok := v.before(at); v.stored.set(r.num) {
		v.Duplicated++
		v.example("entry %d is there already: %s", v.Stored, v.describe(at))
	} else if ok && at.index < before {
		v.OutOfOrder++
		v.example("entry %d should stand before %s: %s", v.Stored, v.describe(version{at.server, before}), v.describe(at))
	}
	g := h.generation(at.index)
	v.newest[at.server][g] = max(at.index, v.newest[at.server][g])
	v.last = at
}

// before returns the index of the newest version in the stream that at must follow.
func (v *verifier) before(at version) (index int, ok bool) {
	newest := v.newest[at.server]
	if len(v.servers) > 1 {
		index, ok = newest[v.servers[at.server].generation(at.index)]
		return index, ok
	}
	for _, i := range newest {
		index, ok = max(index, i), true
	}
	return index, ok
}

func (v *verifier) describe(at version) string {
	h := v.servers[at.server]
	r := h.log.at(at.index)
	text := fmt.Sprintf("event %d (generation %d, seq %d, time_us %d, account %s)", r.num, h.generation(at.index), r.seq, r.timeUS, h.net.did(h.net.event(r.num).account))
	if len(v.servers) > 1 {
		text += fmt.Sprintf(" of server %d", at.server)
	}
	return text
}

// wanted reports whether a stream may hold a version, and whether it must.
func (v *verifier) wanted(h *History, r *record) (may, must bool) {
	e := h.net.event(r.num)
	kind := e.shape.kind()
	if !v.filter.Wants(kind, h.net.did(e.account), []byte(h.net.specs[e.shape].collection)) {
		return false, false
	}
	v1 := kind&subscribe.KindsV1 != 0
	v2 := !h.legacy
	if v.filter.MaxBytes > 0 {
		v1 = v1 && v.filter.Fits(len(v.renderV1(h, r)))
		v.buf = h.net.appendV2(v.buf[:0], &e, r.seq, r.timeUS, false)
		v2 = v2 && v.filter.Fits(len(v.buf))
	}
	switch {
	case v.opt.Protocol == ProtocolV1 || h.legacy:
		return v1, v1
	case v.opt.Protocol == ProtocolV2:
		return v2, v2
	}
	return v1 || v2, v1 && v2
}

// missing counts the contents that should be in the stream but are not.
func (v *verifier) missing() {
	settled := v.settled()
	early := v.stored.count() // stored, but sent before the first expected version
	for at := range v.expected() {
		h := v.servers[at.server]
		r := h.log.at(at.index)
		_, must := v.wanted(h, r)
		switch {
		case v.stored.has(r.num):
			early--
			v.Sent++
		case !must:
		case v.covered.has(r.num):
			v.Sent++
			v.Dropped++
		case settled(r.num):
			v.Sent++
			v.Lost++
			v.example("lost: %s", v.describe(at))
		default:
			v.Sent++
			v.Pending++
		}
	}
	v.Sent += early
}

// expected yields one version of every content that the stream should hold; it does not apply the
// filter.
func (v *verifier) expected() iter.Seq[version] {
	return func(yield func(version) bool) {
		first, ok := v.begin()
		if !ok {
			return
		}
		h := v.servers[first.server]
		known := newBitset(int64(len(v.stored))*64 - 1) // what the server of first has ingested
		for i := range h.log.n {
			known.set(h.log.at(i).num)
		}
		for index := range h.expected(first.index) {
			if !yield(version{first.server, index}) {
				return
			}
		}
		for server, h := range v.servers {
			for index := range h.log.n {
				if !known.set(h.log.at(index).num) && !yield(version{server, index}) {
					return
				}
			}
		}
	}
}

// begin returns the version with which the stream should begin: its own first one with
// FromFirstStored, otherwise the first that any server sent.
func (v *verifier) begin() (first version, ok bool) {
	if v.opt.FromFirstStored {
		return v.first, v.first.index >= 0
	}
	for server, h := range v.servers {
		if h.log.first < 0 {
			continue
		}
		if !ok || h.log.firstUS < v.servers[first.server].log.firstUS {
			first, ok = version{server, h.log.first}, true
		}
	}
	return first, ok
}

// settled returns a function that reports whether a missing content is lost. With AllowTail it is
// lost only if a server serves it before a content that is stored.
func (v *verifier) settled() func(num int64) bool {
	if !v.opt.AllowTail {
		return func(int64) bool { return true }
	}
	before := newBitset(int64(len(v.stored))*64 - 1)
	for _, h := range v.servers {
		end := h.log.served()
		for end > 0 && !v.stored.has(h.log.ranked(end-1).num) {
			end--
		}
		for rank := range end {
			before.set(h.log.ranked(rank).num)
		}
	}
	return before.has
}
