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
	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
)

const (
	// maxPage bounds the JSON of a page of a plan. 100 000 entries, the most that servers give, take
	// 20 MB.
	maxPage    = 64 << 20
	maxEntries = 250_000
)

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
	if n := len(a.filter.DIDs); n <= atproto.MaxDIDs && !p.without.dids {
		in.DIDs = a.filter.DIDs
	}
	if n := len(a.filter.Collections); n <= atproto.MaxCollections && !p.without.collections {
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
	var tip, through *uint64
	p := &page{}
	r := readJSON(body)
	err := r.members(func(key string) error {
		switch key {
		case "sealedTipSeq":
			return r.Decode(&tip)
		case "plannedThroughSeq":
			return r.Decode(&through)
		case "segments":
			return r.elements(maxEntries, func() error { return p.segment(r) })
		}
		return r.skip()
	})
	switch {
	case errors.Is(err, ErrBadAnswer):
		return nil, err
	case err != nil:
		return nil, badAnswer("a page of a plan: %s", printable(err.Error()))
	case tip == nil || through == nil:
		return nil, badAnswer("a page of a plan without sealedTipSeq or plannedThroughSeq")
	}
	if before == 0 {
		before = math.MaxUint64
	}
	p.tip, p.through = min(*tip, before), min(*through, before)
	if p.tip > after && p.through <= after {
		return nil, fmt.Errorf("%w: after %d it has planned through %d", ErrStuck, after, p.through)
	}
	return p, nil
}

// segment reads a unit, which must follow those that were read before.
func (p *page) segment(r reading) error {
	var u unit
	var index uint64
	var mode string
	err := r.members(func(key string) error {
		switch key {
		case "name":
			return r.Decode(&u.name)
		case "index":
			return r.Decode(&index)
		case "checksum":
			return r.Decode(&u.checksum)
		case "minSeq":
			return r.Decode(&u.min)
		case "maxSeq":
			return r.Decode(&u.max)
		case "mode":
			return r.Decode(&mode)
		case "blocks":
			return r.elements(maxEntries-p.entries, func() error { return u.span(r) })
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	u.index, err = jss.ParseName(u.name)
	switch {
	case err != nil || index != u.index:
		return badAnswer("a plan with segment %d named %.40q", index, u.name)
	case !checksumSyntax.MatchString(u.checksum):
		return badAnswer("a plan with the checksum %.40q for %s", u.checksum, u.name)
	case u.min > u.max:
		return badAnswer("a plan with %s from %d to %d", u.name, u.min, u.max)
	case mode == "segment":
		u.whole, u.blocks = true, nil
		p.entries++
	case mode != "blocks" || len(u.blocks) == 0:
		return badAnswer("a plan with the mode %.20q and %d ranges for %s", mode, len(u.blocks), u.name)
	}
	if n := len(p.units); n > 0 {
		if last := &p.units[n-1]; u.index <= last.index || u.min <= last.max {
			return badAnswer("a plan with %s (%d to %d) after %s (%d to %d)", u.name, u.min, u.max, last.name, last.min, last.max)
		}
	}
	p.entries += len(u.blocks)
	p.units = append(p.units, u)
	return nil
}

// span reads a range of blocks, which must lie behind those that were read before.
func (u *unit) span(r reading) error {
	var in struct{ First, Last int }
	if err := r.Decode(&in); err != nil {
		return err
	}
	next := 0
	if n := len(u.blocks); n > 0 {
		next = u.blocks[n-1].last + 1
	}
	if in.First < next || in.Last < in.First || in.Last >= maxBlock {
		return badAnswer("a plan with the blocks %d to %d, where the next is %d", in.First, in.Last, next)
	}
	u.blocks = append(u.blocks, span{in.First, in.Last})
	return nil
}
