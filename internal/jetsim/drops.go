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
	servers := v.servers
	if i := slices.IndexFunc(servers, func(h *History) bool { return h.host != "" && h.host == hostOf(e.Gap.Host) }); i >= 0 {
		servers = servers[i : i+1]
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
