package jetsim

import (
	"bytes"
	"encoding/json"
	"time"
)

// version is one ingestion by one server.
type version struct {
	server int
	index  int // in the server's log
}

// exact finds the version that has exactly the bytes of b. It reads only the time and the seq from
// their places in the simulator's frames, to find candidates. The comparison of all bytes decides.
func (v *verifier) exact(b []byte) (version, bool) {
	if bytes.HasPrefix(b, []byte(`{"$type"`)) {
		return v.exactV2(b)
	}
	b, at := v.withoutWitness(b)
	const timeAt = len(`{"did":"`) + didLen + len(`","time_us":`)
	if len(b) < timeAt {
		return version{}, false
	}
	timeUS, rest := leadingNumber(b[timeAt:])
	var seq int64
	if after, ok := bytes.CutPrefix(rest, []byte(`,"cursor":`)); ok {
		seq, _ = leadingNumber(after)
	}
	return v.find(timeUS, func(h *History, r *record) bool {
		return h.seqOnWire(r) == seq && (at == 0 || at == r.timeUS) && bytes.Equal(v.renderV1(h, r), b)
	})
}

// withoutWitness returns an entry without its last member witnessedAt, which only v2 has, and the
// time in that member, or 0 if the entry has none.
func (v *verifier) withoutWitness(b []byte) (entry []byte, us int64) {
	const begin = `,"witnessedAt":"`
	from := len(b) - len(timeLayout) - len(`"}`)
	if from < len(begin) || string(b[from-len(begin):from]) != begin || string(b[len(b)-2:]) != `"}` {
		return b, 0
	}
	t, err := time.Parse(timeLayout, string(b[from:from+len(timeLayout)]))
	if err != nil {
		return b, 0
	}
	v.entryBuf = append(append(v.entryBuf[:0], b[:from-len(begin)]...), '}')
	return v.entryBuf, t.UnixMicro()
}

// exactV2 finds the version of a v2 frame that is stored as it was sent.
func (v *verifier) exactV2(b []byte) (version, bool) {
	end := len(b) - len(`"}}`)
	if end < len(timeLayout) {
		return version{}, false
	}
	t, err := time.Parse(timeLayout, string(b[end-len(timeLayout):end]))
	if err != nil {
		return version{}, false
	}
	return v.find(t.UnixMicro(), func(h *History, r *record) bool {
		e := h.net.event(r.num)
		v.buf = h.net.appendV2(v.buf[:0], &e, r.seq, r.timeUS, bytes.Contains(b[max(0, end-2*len(timeLayout)):], []byte(witnessedAt)))
		return !h.legacy && bytes.Equal(v.buf, b)
	})
}

func (v *verifier) renderV1(h *History, r *record) []byte {
	e := h.net.event(r.num)
	v.buf = h.net.appendV1(v.buf[:0], &e, h.seqOnWire(r), r.timeUS)
	return v.buf
}

func leadingNumber(b []byte) (n int64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' && n < 1<<59 {
		n = n*10 + int64(b[0]-'0')
		b = b[1:]
	}
	return n, b
}

// find finds a version by its time. It begins with the version that follows the last entry's in the
// same log, which is the most frequent case.
func (v *verifier) find(timeUS int64, is func(h *History, r *record) bool) (version, bool) {
	h := v.servers[v.last.server]
	if next := v.last.index + 1; next < h.log.n {
		if r := h.log.at(next); r.timeUS == timeUS && is(h, r) {
			return version{v.last.server, next}, true
		}
	}
	for i := range v.servers {
		server := (v.last.server + i) % len(v.servers)
		h := v.servers[server]
		for index := range h.log.between(timeUS, timeUS) {
			if is(h, h.log.at(index)) {
				return version{server, index}, true
			}
		}
	}
	return version{}, false
}

// decoded is an event's identity, decoded by encoding/json.
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
	Sync struct {
		Rev string `json:"rev"`
	} `json:"sync"`
}

// altered finds the version that has the entry's identity, time and seq.
func (v *verifier) altered(e decoded) (version, bool) {
	return v.find(e.TimeUS, func(h *History, r *record) bool {
		var sent decoded
		return h.seqOnWire(r) == e.Cursor && json.Unmarshal(v.renderV1(h, r), &sent) == nil && sent == e
	})
}
