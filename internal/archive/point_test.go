package archive_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"tempestd/internal/archive"
	"tempestd/internal/archive/jss"
	"tempestd/internal/jetsim"
)

// A point comes from a store. One that makes no sense, or is of another host, is refused before
// anything is asked.
func TestPointsThatAreRefused(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"seq":-1}`, `{"block":-1}`, `{"block":99999999}`, `{"sealed":5,"seq":9}`} {
		if p, err := archive.ParsePoint([]byte(text)); !errors.Is(err, archive.ErrBadSweep) {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	s := server(t, jetsim.Options{Backlog: 400})
	var got taken
	sw := archive.Sweep{Client: client(t, s), From: archive.Point{Host: "elsewhere.example:443", Seq: 200, Sealed: 400}, Deliver: got.deliver}
	if r, err := sw.Run(t.Context()); !errors.Is(err, archive.ErrBadSweep) || got.batches > 0 || r.Through != 200 {
		t.Errorf("of another host: %+v, %v", r, err)
	}
}

// A block that is fetched by itself has no index to be compared with: its numbers are those that the
// plan names.
func TestI4_ABlockStaysWithinItsPlan(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 600})
	sw := archive.Sweep{Client: client(t, s), Filter: filters["blocks"], Parallel: 1}
	whole, _ := sweep(t, sw)
	for range 3 { // as often as a block is asked for
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultBlockOutside}); err != nil {
			t.Fatal(err)
		}
	}
	var left []*archive.SegmentError
	sw.Leave = func(e *archive.SegmentError) { left = append(left, e) }
	got, _ := sweep(t, sw)
	if n := len(whole.entries) - len(got.entries); len(left) != 1 || !errors.Is(left[0], jss.ErrCorrupt) || n < 1 || n > 20 || !rising(got.seqs()) {
		t.Errorf("left out: %v; %d entries are missing, a block has 20", left, n)
	}
}

// shifting answers with another range of a segment than was asked for.
type shifting struct{ http.RoundTripper }

func (s shifting) RoundTrip(r *http.Request) (*http.Response, error) {
	var from, to int64
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 && from > 0 {
		r = r.Clone(r.Context())
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from+1, to+1))
	}
	return s.RoundTripper.RoundTrip(r)
}

// A server, or something before it, that answers with another range of a segment is told apart from
// damage.
func TestAnAnswerOfAnotherRangeIsRefused(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 400})
	c := client(t, s, func(o *archive.Options) { o.HTTP = &http.Client{Transport: shifting{o.HTTP.Transport}} })
	var got taken
	if _, err := (&archive.Sweep{Client: c, Deliver: got.deliver}).Run(t.Context()); !errors.Is(err, archive.ErrBadAnswer) || len(got.entries) > 0 {
		t.Errorf("%v; %d entries", err, len(got.entries))
	}
}
