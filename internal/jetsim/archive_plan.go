package jetsim

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"

	"tempestd/internal/archive/jss"
	"tempestd/internal/subscribe"
)

// planRequest is the input of planSnapshot.
type planRequest struct {
	Kinds       []string `json:"kinds"`
	DIDs        []string `json:"dids"`
	Collections []string `json:"collections"`
	AfterSeq    int64    `json:"afterSeq"`
	BeforeSeq   *int64   `json:"beforeSeq"`
}

// planPage is a page of a plan.
type planPage struct {
	SealedTipSeq      uint64     `json:"sealedTipSeq"`
	PlannedThroughSeq uint64     `json:"plannedThroughSeq"`
	Segments          []planUnit `json:"segments"`
	Stats             planStats  `json:"stats"`
}

type planUnit struct {
	Name     string      `json:"name"`
	Index    int         `json:"index"`
	Checksum string      `json:"checksum"`
	MinSeq   uint64      `json:"minSeq"`
	MaxSeq   uint64      `json:"maxSeq"`
	Mode     string      `json:"mode"`
	Blocks   []planRange `json:"blocks,omitempty"`
}

type planRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

type planStats struct {
	SegmentsExamined int `json:"segmentsExamined"`
	SegmentsMatched  int `json:"segmentsMatched"`
	BlocksMatched    int `json:"blocksMatched"`
	Entries          int `json:"entries"`
}

// maxPlanRequest bounds the body of a request: 10 000 DIDs take about 300 KB.
const maxPlanRequest = 32 << 20

func (s *Sim) planSnapshot(w http.ResponseWriter, r *http.Request) *subscribe.Refusal {
	var req planRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPlanRequest)).Decode(&req); err != nil {
		return subscribe.Invalid("invalid body: %v", err)
	}
	// The rules for the lists, and their refusals, are those of a subscription.
	if _, err := subscribe.ParseFilterV2(url.Values{"kinds": req.Kinds, "dids": req.DIDs, "collections": req.Collections}); err != nil {
		return subscribe.Invalid("%v", err)
	}
	before := uint64(math.MaxUint64)
	switch {
	case req.AfterSeq < 0 || req.BeforeSeq != nil && *req.BeforeSeq < 0:
		return subscribe.Invalid("a bound is negative")
	case req.BeforeSeq != nil && *req.BeforeSeq <= req.AfterSeq:
		return subscribe.Invalid("beforeSeq must be greater than afterSeq")
	case req.BeforeSeq != nil:
		before = uint64(*req.BeforeSeq)
	}
	s.mu.Lock()
	f := planFaults{blocks: s.awaitsBlock()}
	f.disabled = len(req.DIDs)+len(req.Collections) > 0 && s.struck(FaultNoFilter)
	f.checksum, f.stuck, f.idle, f.behind = s.struck(FaultPlanChecksum), s.struck(FaultPlanStuck), s.struck(FaultPlanIdle), s.struck(FaultPlanBehind)
	s.mu.Unlock()
	if f.disabled {
		return subscribe.Invalid("DID filters are disabled")
	}
	page, err := s.store.plan(s.net.planFilter(&req), uint64(req.AfterSeq), before, s.opt.Archive.PlanEntries, f)
	if err != nil {
		return subscribe.Unavailable(err.Error())
	}
	answerJSON(w, page)
	return nil
}

// planFaults are the faults that happen to a page.
type planFaults struct {
	disabled, checksum, stuck, idle, behind bool
	blocks                                  bool // plan no whole segment: a fault waits for a getBlock
}

// planFilter says which blocks may hold something that is wanted.
type planFilter struct {
	shapes   uint32
	accounts []uint64 // bits of the bloom; nil for all
	all      bool
}

func (w *network) planFilter(req *planRequest) planFilter {
	filter, _ := subscribe.ParseFilterV2(url.Values{"kinds": req.Kinds, "collections": req.Collections}) // checked before
	f := planFilter{all: len(req.Kinds)+len(req.DIDs)+len(req.Collections) == 0}
	for s := range shapeCount {
		if filter.Wants(s.kind(), nil, []byte(w.specs[s].collection)) {
			f.shapes |= 1 << s
		}
	}
	for _, did := range req.DIDs {
		f.accounts = append(f.accounts, accountBit([]byte(did)))
	}
	return f
}

func (f *planFilter) matches(m *marks) bool {
	if f.all {
		return true
	}
	if f.shapes&m.shapes == 0 {
		return false
	}
	for _, bit := range f.accounts {
		if m.accounts[bit/64]>>(bit%64)&1 != 0 {
			return true
		}
	}
	return f.accounts == nil
}

// plan makes a page: what lies after a number up to and with another one.
func (t *segmentStore) plan(filter planFilter, after, before uint64, entries int, f planFaults) (*planPage, error) {
	page := &planPage{Segments: []planUnit{}}
	count := t.count()
	if f.behind {
		count--
	}
	if count <= 0 {
		return page, nil
	}
	_, tip := t.bounds(count - 1)
	page.SealedTipSeq = min(tip, before)
	page.PlannedThroughSeq = page.SealedTipSeq
	if f.stuck {
		page.PlannedThroughSeq = after
		return page, nil
	}
	filter.all = filter.all || f.idle
	for k := range count {
		first, last := t.bounds(k)
		if last <= after {
			continue
		}
		if first > before {
			break
		}
		g, err := t.segment(k)
		if err != nil {
			return nil, err
		}
		page.Stats.SegmentsExamined++
		if g.header.Events == 0 {
			continue
		}
		ranges, n := g.matching(&filter)
		if n == 0 {
			continue
		}
		u := planUnit{jss.Name(uint64(k)), k, jss.ChecksumText(g.header.Checksum), g.header.MinSeq, g.header.MaxSeq, "segment", nil}
		cost := 1
		if f.blocks || f.idle || 4*n < 3*len(g.blocks) {
			u.Mode, u.Blocks, cost = "blocks", ranges, len(ranges)
		}
		if page.Stats.Entries > 0 && page.Stats.Entries+cost > entries {
			page.PlannedThroughSeq = min(page.Segments[len(page.Segments)-1].MaxSeq, before)
			break
		}
		page.Segments = append(page.Segments, u)
		page.Stats.SegmentsMatched++
		page.Stats.BlocksMatched += n
		page.Stats.Entries += cost
	}
	if f.checksum && len(page.Segments) > 0 {
		page.Segments[0].Checksum = jss.ChecksumText(1)
	}
	return page, nil
}

// matching returns the blocks that may hold something wanted, as ranges, and their number.
func (g *sealed) matching(f *planFilter) (ranges []planRange, n int) {
	for i := range g.marks {
		if !f.matches(&g.marks[i]) {
			continue
		}
		if n++; len(ranges) > 0 && ranges[len(ranges)-1].Last == i-1 {
			ranges[len(ranges)-1].Last = i
		} else {
			ranges = append(ranges, planRange{i, i})
		}
	}
	return ranges, n
}
