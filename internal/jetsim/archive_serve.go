package jetsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"tempestd/internal/archive/jss"
	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
)

// archiveRoutes mounts the calls of the archive.
func (s *Sim) archiveRoutes() {
	for pattern, answer := range map[string]func(w http.ResponseWriter, r *http.Request) *subscribe.Refusal{
		"POST planSnapshot": s.planSnapshot,
		"GET listSegments":  s.listSegments,
		"GET getSegment":    s.getSegment,
		"GET getBlock":      s.getBlock,
	} {
		method, name, _ := strings.Cut(pattern, " ")
		s.mux.HandleFunc(method+" "+atproto.ArchivePath+name, func(w http.ResponseWriter, r *http.Request) {
			if _, ok := s.admit(w, ProtocolV2); !ok || !s.admitToArchive(w, r, name) {
				return
			}
			w = s.throughFaults(w, r, name)
			if refusal := answer(w, r); refusal != nil {
				refusal.Answer(w, subscribe.V2)
			}
		})
	}
}

// quota counts what was downloaded in the current period.
type quota struct {
	bytes   int64
	ends    time.Time
	refused int // answers so far that said so
}

// admitToArchive answers a call that has no key, is over the quota or meets a fault.
func (s *Sim) admitToArchive(w http.ResponseWriter, r *http.Request, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun()
	s.stats.Archive[name]++
	o := s.opt.Archive
	refuse := func(status int, name, message string) bool {
		(&subscribe.Refusal{Status: status, Name: name, Message: message}).Answer(w, subscribe.V2)
		return false
	}
	now := s.clock.Now()
	switch {
	case o.Key != "" && r.Header.Get("Authorization") != "Bearer "+o.Key, s.struck(FaultUnauthorized):
		return refuse(http.StatusUnauthorized, "AuthRequired", "an API key is required")
	case s.struck(FaultForbidden):
		return refuse(http.StatusForbidden, "Forbidden", "this key must not")
	case s.struck(FaultNotReady):
		return refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "service not ready: bootstrap in progress")
	case s.struck(FaultRedirect):
		_, port, _ := strings.Cut(r.Host, ":")
		http.Redirect(w, r, "http://127.0.0.2:"+port+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return false
	case s.struck(FaultQuota):
		s.overQuota(w, s.strikes[FaultQuota].until)
		return false
	case o.Quota > 0 && strings.HasPrefix(name, "get"):
		if !now.Before(s.quota.ends) {
			s.quota.bytes, s.quota.ends = 0, now.Add(o.QuotaEvery)
		}
		if s.quota.bytes >= o.Quota {
			s.overQuota(w, s.quota.ends)
			return false
		}
	}
	return true
}

// overQuota refuses a call until a time, in each of the forms that servers use in turn.
func (s *Sim) overQuota(w http.ResponseWriter, until time.Time) {
	until = until.Add(time.Second - 1).Truncate(time.Second)
	seconds := int64((until.Sub(s.clock.Now()) + time.Second - 1) / time.Second)
	switch s.quota.refused % 3 {
	case 0:
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	case 1:
		w.Header().Set("Retry-After", until.UTC().Format(http.TimeFormat))
	case 2:
		w.Header().Set("RateLimit-Reset", strconv.FormatInt(until.Unix(), 10))
	}
	s.quota.refused++
	(&subscribe.Refusal{Status: http.StatusTooManyRequests, Name: "RateLimitExceeded", Message: "over the download quota"}).Answer(w, subscribe.V2)
}

// throughFaults counts what is written of segments and blocks, and cuts it.
func (s *Sim) throughFaults(w http.ResponseWriter, r *http.Request, name string) http.ResponseWriter {
	if !strings.HasPrefix(name, "get") || r.Method == http.MethodHead {
		return w
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.struck(FaultNoRange) && name == "getSegment" {
		r.Header.Del("Range")
	}
	m := &meter{ResponseWriter: w, sim: s, left: -1}
	if s.struck(FaultCut) {
		m.left = 0
		m.cut = random(s.seed + uint64(s.stats.Archive[name]))
	}
	return m
}

// meter counts the bytes of an answer, and ends it within its body when it is to be cut: after some
// byte, so that a client that continues gets everything in the end.
type meter struct {
	http.ResponseWriter
	sim  *Sim
	left int64 // bytes until the cut; -1 for no cut
	cut  random
}

func (m *meter) WriteHeader(status int) {
	if n, err := strconv.ParseInt(m.Header().Get("Content-Length"), 10, 64); err == nil && m.left >= 0 && n > 0 {
		m.left = 1 + int64(m.cut.below(uint64(n)))
	}
	m.ResponseWriter.WriteHeader(status)
}

func (m *meter) Write(b []byte) (int, error) {
	cut := m.left >= 0 && int64(len(b)) > m.left
	if cut {
		b = b[:m.left]
	}
	n, err := m.ResponseWriter.Write(b)
	m.sim.mu.Lock()
	m.sim.quota.bytes += int64(n)
	m.sim.stats.Archive["bytes"] += int64(n)
	m.sim.mu.Unlock()
	if cut {
		_ = http.NewResponseController(m.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if m.left >= 0 {
		m.left -= int64(n)
	}
	return n, err
}

// segmentInfo is a segment in a list.
type segmentInfo struct {
	Name           string `json:"name"`
	Index          int    `json:"index"`
	SizeBytes      int64  `json:"sizeBytes"`
	Checksum       string `json:"checksum"`
	EventCount     uint32 `json:"eventCount"`
	MinSeq         uint64 `json:"minSeq"`
	MaxSeq         uint64 `json:"maxSeq"`
	MinWitnessedAt int64  `json:"minWitnessedAt"`
	MaxWitnessedAt int64  `json:"maxWitnessedAt"`
}

func (s *Sim) listSegments(w http.ResponseWriter, r *http.Request) *subscribe.Refusal {
	limit, from := 100, 0
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return subscribe.Invalid("limit must be a positive integer")
		}
		limit = min(n, 1000)
	}
	if text := r.URL.Query().Get("cursor"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return subscribe.Invalid("invalid cursor")
		}
		from = n
	}
	var out struct {
		Cursor   string        `json:"cursor,omitempty"`
		Segments []segmentInfo `json:"segments"`
	}
	out.Segments = []segmentInfo{}
	count := s.store.count()
	for k := from; k < count; k++ {
		if len(out.Segments) == limit {
			out.Cursor = strconv.Itoa(k)
			break
		}
		g, err := s.store.segment(k)
		if err != nil {
			return subscribe.Unavailable(err.Error())
		}
		info, err := os.Stat(g.path)
		if err != nil {
			return subscribe.Unavailable(err.Error())
		}
		h := &g.header
		out.Segments = append(out.Segments, segmentInfo{jss.Name(uint64(k)), k, info.Size(), jss.ChecksumText(h.Checksum), h.Events, h.MinSeq, h.MaxSeq, h.MinWitnessedUS, h.MaxWitnessedUS})
	}
	answerJSON(w, out)
	return nil
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// find returns the segment with a name, and its file.
func (s *Sim) find(name string) (*sealed, *os.File, *subscribe.Refusal) {
	k, err := jss.ParseName(name)
	if err != nil {
		return nil, nil, subscribe.Invalid("invalid segment name")
	}
	missing := &subscribe.Refusal{Status: http.StatusNotFound, Name: "SegmentNotFound", Message: "segment not found"}
	if k >= uint64(s.store.count()) || s.strikeNow(FaultGone) {
		return nil, nil, missing
	}
	g, err := s.store.segment(int(k))
	if err != nil {
		return nil, nil, subscribe.Unavailable(err.Error())
	}
	f, err := os.Open(g.path)
	if err != nil { // a compaction has replaced it
		return nil, nil, missing
	}
	return g, f, nil
}

func archiveHeaders(w http.ResponseWriter, etag string) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Etag", `"`+etag+`"`)
}

func (s *Sim) getSegment(w http.ResponseWriter, r *http.Request) *subscribe.Refusal {
	g, f, refusal := s.find(r.URL.Query().Get("name"))
	if refusal != nil {
		return refusal
	}
	defer f.Close()
	archiveHeaders(w, jss.ChecksumText(g.header.Checksum))
	var content io.ReadSeeker = f
	if at, ok := s.flip(g, r); ok {
		content = &flipped{f, at}
	}
	http.ServeContent(w, r, "", g.modified, content)
	return nil
}

func (s *Sim) getBlock(w http.ResponseWriter, r *http.Request) *subscribe.Refusal {
	g, f, refusal := s.find(r.URL.Query().Get("segment"))
	if refusal != nil {
		return refusal
	}
	defer f.Close()
	n, err := strconv.Atoi(r.URL.Query().Get("blockIndex"))
	switch {
	case err != nil || n < 0:
		return subscribe.Invalid("blockIndex must be a non-negative integer")
	case n >= len(g.blocks):
		return &subscribe.Refusal{Status: http.StatusNotFound, Name: "BlockNotFound", Message: "block not found"}
	}
	b := &g.blocks[n]
	frame := make([]byte, b.Size)
	if _, err := f.ReadAt(frame, int64(b.FrameOffset())); err != nil {
		return subscribe.Unavailable(err.Error())
	}
	sum := g.header.Checksum
	if r.Method == http.MethodGet {
		if frame, err = s.spoil(g, frame); err != nil {
			return subscribe.Unavailable(err.Error())
		}
		if s.strikeNow(FaultGeneration) {
			sum++
		}
	}
	archiveHeaders(w, fmt.Sprintf("%s:%d", jss.ChecksumText(sum), n))
	w.Header().Set("Content-Length", strconv.Itoa(len(frame)))
	w.Header().Set("Last-Modified", g.modified.UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(frame) // the client may have gone
	}
	return nil
}
