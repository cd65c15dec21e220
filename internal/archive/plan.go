package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"

	"tempestd/internal/archive/jss"
	"tempestd/internal/jetstream"
)

// maxPage bounds the JSON of a page of a plan. 100 000 entries, the most of a page, take 20 MB.
const maxPage = 64 << 20

// unit is one segment of a plan.
type unit struct {
	name     string
	index    uint64
	checksum string // 16 hexadecimal digits
	min, max uint64
	whole    bool   // all of it; otherwise some of its blocks
	blocks   []span // inclusive, rising
	total    int    // blocks in the segment, once its header is known
}

type span struct{ first, last int }

// count is how many blocks a plan names of the segment.
func (u *unit) count() (n int) {
	for _, s := range u.blocks {
		n += s.last - s.first + 1
	}
	return n
}

// page is one page of a plan.
type page struct {
	tip     uint64 // the highest number in a sealed segment, up to the wanted end
	through uint64 // the page answers everything up to here
	units   []unit
	entries int
}

// ask is what a plan is asked for.
type ask struct {
	filter        jetstream.Filter
	after, before uint64 // exclusive, inclusive
}

// input is the JSON of planSnapshot.
type input struct {
	Kinds       []string `json:"kinds,omitempty"`
	DIDs        []string `json:"dids,omitempty"`
	Collections []string `json:"collections,omitempty"`
	AfterSeq    uint64   `json:"afterSeq"`
	BeforeSeq   uint64   `json:"beforeSeq,omitempty"`
}

// disabled says which lists of a filter are left out of plans.
type disabled struct{ dids, collections bool }

// planner asks for pages. It remembers which lists of the filter the server does not accept.
type planner struct {
	client  *Client
	without disabled
	widened func(lists []string)
}

// page asks for the plan of what lies after a number. A server may have switched off filters by DID
// or by collection; its refusal looks like that of any other bad request. As the filter is valid, a
// refusal is taken for that, and the lists are left out.
func (p *planner) page(ctx context.Context, a ask) (*page, error) {
	got, refusal := p.try(ctx, a)
	if !badRequest(refusal) {
		return got, refusal
	}
	was := p.without
	for _, without := range []disabled{{true, was.collections}, {was.dids, true}, {true, true}} {
		lists := a.lists(without)
		if len(lists) == 0 || without == was || len(lists) == len(a.lists(was)) {
			continue
		}
		p.without = without
		got, err := p.try(ctx, a)
		if badRequest(err) {
			continue
		}
		if err == nil {
			p.widened(lists)
		}
		return got, err
	}
	p.without = was
	return nil, refusal
}

// lists names the lists of the filter that are left out.
func (a *ask) lists(without disabled) (names []string) {
	if without.dids && len(a.filter.DIDs) > 0 {
		names = append(names, "dids")
	}
	if without.collections && len(a.filter.Collections) > 0 {
		names = append(names, "collections")
	}
	return names
}

func badRequest(err error) bool {
	r, ok := errors.AsType[*RefusedError](err)
	return ok && r.Status == http.StatusBadRequest
}

func (p *planner) try(ctx context.Context, a ask) (*page, error) {
	in := input{Kinds: a.filter.Kinds, AfterSeq: a.after, BeforeSeq: a.before}
	if n := len(a.filter.DIDs); n <= jetstream.MaxDIDs && !p.without.dids {
		in.DIDs = a.filter.DIDs
	}
	if n := len(a.filter.Collections); n <= jetstream.MaxCollections && !p.without.collections {
		in.Collections = a.filter.Collections
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	body, err = p.client.answer(ctx, &call{method: http.MethodPost, route: routePlan, body: body}, maxPage)
	if err != nil {
		return nil, err
	}
	return parsePage(body, a.after, a.before)
}

// checksumSyntax is that of a checksum.
var checksumSyntax = regexp.MustCompile(`^[0-9a-f]{16}$`)

// maxBlock bounds the number of a block.
const maxBlock = 1 << 24

// parsePage reads a page, and checks that it advances and that its units are in order. before is 0
// for no end.
func parsePage(body []byte, after, before uint64) (*page, error) {
	var in struct {
		SealedTipSeq, PlannedThroughSeq *uint64
		Segments                        []struct {
			Name           string
			Index          uint64
			Checksum       string
			MinSeq, MaxSeq uint64
			Mode           string
			Blocks         []struct{ First, Last int }
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badAnswer("a page of a plan: %v", printable(err.Error()))
	}
	if in.SealedTipSeq == nil || in.PlannedThroughSeq == nil {
		return nil, badAnswer("a page of a plan without sealedTipSeq or plannedThroughSeq")
	}
	if before == 0 {
		before = math.MaxUint64
	}
	p := &page{tip: min(*in.SealedTipSeq, before), through: min(*in.PlannedThroughSeq, before)}
	if p.tip > after && p.through <= after {
		return nil, fmt.Errorf("%w: after %d it has planned through %d", ErrStuck, after, p.through)
	}
	p.units = make([]unit, 0, len(in.Segments))
	for i, g := range in.Segments {
		index, err := jss.ParseName(g.Name)
		u := unit{name: g.Name, index: index, checksum: g.Checksum, min: g.MinSeq, max: g.MaxSeq}
		switch {
		case err != nil || index != g.Index:
			return nil, badAnswer("a plan with segment %d named %.40q", g.Index, g.Name)
		case !checksumSyntax.MatchString(g.Checksum):
			return nil, badAnswer("a plan with the checksum %.40q for %s", g.Checksum, g.Name)
		case g.MinSeq > g.MaxSeq:
			return nil, badAnswer("a plan with %s from %d to %d", g.Name, g.MinSeq, g.MaxSeq)
		case i > 0 && (index <= p.units[i-1].index || g.MinSeq <= p.units[i-1].max):
			return nil, badAnswer("a plan with %s (%d to %d) after %s (%d to %d)", g.Name, g.MinSeq, g.MaxSeq, p.units[i-1].name, p.units[i-1].min, p.units[i-1].max)
		case g.Mode == "segment":
			u.whole = true
			p.entries++
		case g.Mode != "blocks" || len(g.Blocks) == 0:
			return nil, badAnswer("a plan with the mode %.20q and %d ranges for %s", g.Mode, len(g.Blocks), g.Name)
		}
		if !u.whole {
			next := 0
			for _, b := range g.Blocks {
				if b.First < next || b.Last < b.First || b.Last >= maxBlock {
					return nil, badAnswer("a plan with the blocks %d to %d of %s, where the next is %d", b.First, b.Last, g.Name, next)
				}
				next = b.Last + 1
				u.blocks = append(u.blocks, span{b.First, b.Last})
			}
			p.entries += len(g.Blocks)
		}
		p.units = append(p.units, u)
	}
	return p, nil
}
