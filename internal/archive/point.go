package archive

import (
	"context"
	"encoding/json"
	"fmt"
)

// Point is where a sweep stands: everything wanted up to Seq was handed over. It is handed over with
// each batch, to be stored with it, and a sweep begins from it. The zero Point is the beginning.
type Point struct {
	Host string `json:"host"`
	// Instance recognises the server, whose numbers mean nothing on another one.
	Instance Instance `json:"instance"`
	// Sealed is the end of the sweep: the last sealed event when it began, or its wanted end.
	Sealed uint64 `json:"sealed"`
	// Planned is the end of the last page of the plan that is done.
	Planned uint64 `json:"planned"`
	Seq     uint64 `json:"seq"`
	// Segment and Block are the next block, if it is known: those before it need not be downloaded
	// again. Compaction does not number blocks anew.
	Segment string `json:"segment,omitempty"`
	Block   int    `json:"block,omitempty"`
}

// ParsePoint reads a point as Point.Text writes it.
func ParsePoint(text []byte) (Point, error) {
	var p Point
	if err := json.Unmarshal(text, &p); err != nil {
		return Point{}, fmt.Errorf("%w: its point: %v", ErrBadSweep, err)
	}
	if p.Block < 0 || p.Block > maxBlock || p.Sealed > 0 && p.Seq > p.Sealed {
		return Point{}, fmt.Errorf("%w: its point lies at block %d, event %d of %d", ErrBadSweep, p.Block, p.Seq, p.Sealed)
	}
	return p, nil
}

// Text is the point as JSON.
func (p Point) Text() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // cannot happen: it has numbers and strings
	}
	return b
}

// Instance is the first segment of an archive, by which a server is recognised.
type Instance struct {
	Segment        string `json:"segment,omitempty"`
	Checksum       string `json:"checksum,omitempty"`
	MinSeq         uint64 `json:"min_seq,omitempty"`
	MaxSeq         uint64 `json:"max_seq,omitempty"`
	MinWitnessedUS int64  `json:"min_witnessed_us,omitempty"`
	MaxWitnessedUS int64  `json:"max_witnessed_us,omitempty"`
}

// Known says whether there is an instance: an archive without segments shows none.
func (i Instance) Known() bool { return i.Segment != "" }

// MayBecome says whether the same server may look like now later. A compaction only takes events
// away, so numbers and times stay within what they were; a server that drops its first segments has
// later ones. A rebuilt server begins anew, with times of its own.
func (i Instance) MayBecome(now Instance) bool {
	switch {
	case !i.Known() || i == now:
		return true
	case i.Segment == now.Segment:
		return now.MinSeq >= i.MinSeq && now.MaxSeq <= i.MaxSeq && now.MinWitnessedUS >= i.MinWitnessedUS && now.MaxWitnessedUS <= i.MaxWitnessedUS
	}
	return now.Segment > i.Segment && now.MinSeq > i.MaxSeq && now.MinWitnessedUS >= i.MaxWitnessedUS
}

// instance asks for the server's first segment.
func (c *Client) instance(ctx context.Context) (Instance, error) {
	first, _, err := c.listPage(ctx, 1, "", -1)
	if err != nil || len(first) == 0 {
		return Instance{}, err
	}
	g := &first[0]
	return Instance{g.Name, g.Checksum, g.MinSeq, g.MaxSeq, g.MinWitnessedAt, g.MaxWitnessedAt}, nil
}
