package jetsim

import (
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strings"
)

// noteDropped records the contents that a server has dropped.
func (v *verifier) noteDropped() {
	for _, h := range v.servers {
		for rank := range h.log.kept {
			v.dropped.set(h.log.ranked(rank).num)
		}
	}
}

// gapEntry is a gap entry of a stream. Other members are ignored.
type gapEntry struct {
	Gap struct {
		State  string `json:"state"` // of an entry that closes a gap
		Host   string `json:"host"`
		FromUS int64  `json:"from_us"`
		ToUS   int64  `json:"to_us"` // 0 while the end is unknown
		// The numbers of the events before and after it, 0 if unknown.
		FromSeq int64 `json:"from_seq"`
		ToSeq   int64 `json:"to_seq"`
	} `json:"gap"`
}

// gap evaluates a gap entry: it covers the dropped contents whose time is inside it. A gap entry
// that covers none counts as needless.
func (v *verifier) gap(b []byte) {
	var e gapEntry
	_ = json.Unmarshal(b, &e) // a malformed entry covers nothing
	if e.Gap.State != "" && e.Gap.State != "open" {
		return
	}
	v.Gaps++
	if e.Gap.ToUS == 0 && e.Gap.FromUS > 0 {
		e.Gap.ToUS = math.MaxInt64
	}
	servers, named := v.servers, false
	if i := slices.IndexFunc(servers, func(h *History) bool { return h.host != "" && h.host == hostOf(e.Gap.Host) }); i >= 0 {
		servers, named = servers[i:i+1], true
	}
	needed := false
	for _, h := range servers {
		// An older version of a content counts too: a consumer may have seen it before a crash.
		for index := range h.log.between(e.Gap.FromUS, e.Gap.ToUS) {
			if num := h.log.at(index).num; v.dropped.has(num) {
				v.covered.set(num)
				needed = true
			}
		}
	}
	if from, to := e.Gap.FromSeq, e.Gap.ToSeq; named && from > 0 && to > from {
		// An event whose time is later than that of the one behind it is told by its number.
		log := &servers[0].log
		for index := range max(log.n-1, 0) {
			if r := log.at(index); r.timeUS > log.at(index+1).timeUS && r.seq > from && r.seq < to && v.dropped.has(r.num) {
				v.covered.set(r.num)
				needed = true
			}
		}
	}
	if !needed {
		v.NeedlessGaps++
	}
}

// hostOf returns the address in the host member of a gap entry, which may be a URL.
func hostOf(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}
