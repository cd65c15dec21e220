package archive_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"tempestd/internal/archive"
	"tempestd/internal/archive/jss"
	"tempestd/internal/jetsim"
)

// A sweep that goes on behind damage leaves the damaged blocks out, and nothing else.
func TestASweepLeavesDamageOut(t *testing.T) {
	for name, c := range map[string]struct {
		fault string
		block int // of the first segment
		kind  error
	}{
		"a frame":           {jetsim.FaultFrameFlip, 0, jss.ErrCorrupt},
		"a block's columns": {jetsim.FaultBlockLengths, 0, jss.ErrCorrupt},
		"a block's kinds":   {jetsim.FaultBlockKind, 0, jss.ErrUnknown},
		"too large a block": {jetsim.FaultBlockBomb, 0, archive.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, jetsim.Options{Backlog: 600})
			whole, _ := sweep(t, archive.Sweep{Client: client(t, s)})
			times := 3 // as often as a block is asked for
			if !errors.Is(c.kind, jss.ErrCorrupt) {
				times = 2
			}
			for range times {
				if err := s.Inject(jetsim.Fault{Name: c.fault}); err != nil {
					t.Fatal(err)
				}
			}
			var left []*archive.SegmentError
			got, _ := sweep(t, archive.Sweep{Client: client(t, s), Parallel: 1, Leave: func(e *archive.SegmentError) { left = append(left, e) }})
			if len(left) != 1 || left[0].Block != c.block || !errors.Is(left[0], c.kind) {
				t.Fatalf("left out: %v", left)
			}
			same(t, got.entries, whole.entries[20:]) // a block has 20 rows
		})
	}
}

// garbled breaks the header of one segment.
type garbled struct {
	http.RoundTripper
	segment string
}

func (g garbled) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.RoundTripper.RoundTrip(r)
	if err != nil || r.URL.Query().Get("name") != g.segment || !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	copy(body, "none")
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// A segment without a sound header is left out as a whole: nobody knows how many blocks it has.
func TestASweepLeavesASegmentWithoutAHeaderOut(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 600})
	whole, _ := sweep(t, archive.Sweep{Client: client(t, s)})
	var left []*archive.SegmentError
	broken := client(t, s, func(o *archive.Options) {
		o.HTTP = &http.Client{Transport: garbled{o.HTTP.Transport, jss.Name(1)}}
	})
	got, _ := sweep(t, archive.Sweep{Client: broken, Leave: func(e *archive.SegmentError) { left = append(left, e) }})
	if len(left) != 1 || left[0].Block != -1 || left[0].Segment != jss.Name(1) {
		t.Fatalf("left out: %v", left)
	}
	if n := len(whole.entries) - len(got.entries); n != 200 || !rising(got.seqs()) {
		t.Errorf("%d entries are missing, a segment has 200", n)
	}
}
