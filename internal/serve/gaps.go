package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

// Bounds of the requests about gaps.
const (
	maxGaps     = 1000 // in one answer
	defaultGaps = 100
	// priceTimeout bounds a dry run: sources are asked over the network.
	priceTimeout = 30 * time.Second
)

// gaps answers with the gaps of all streams, or of one.
func (s *Server) gaps(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "feed", "state", "id", "limit")
	return s.listGaps(w, r, p, p.Values.Get("feed"))
}

func (s *Server) gapsOfFeed(w http.ResponseWriter, r *http.Request) error {
	return s.listGaps(w, r, api.ParseParams(r, "state", "id", "limit"), r.PathValue("feed"))
}

func (s *Server) listGaps(w http.ResponseWriter, r *http.Request, p *api.Params, feed string) error {
	id := p.Values.Get("id")
	states, limit := statesOf(p), p.Number("limit", defaultGaps, 1, maxGaps, fmt.Sprintf("a whole number 1…%d", maxGaps))
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	rows, err := s.gapRows(ctx, feed)
	if err != nil {
		return err
	}
	list := messages.GapList{Gaps: []messages.GapStatus{}, States: make(map[messages.GapState]int)}
	for _, state := range messages.GapStates {
		list.States[state] = 0
	}
	sortGaps(rows)
	for _, row := range rows {
		if !strings.HasPrefix(row.ID, id) {
			continue
		}
		list.States[row.State]++
		if len(list.Gaps) < limit && (len(states) == 0 || slices.Contains(states, row.State)) {
			list.Gaps = append(list.Gaps, messages.NewGapStatus(row))
		}
	}
	api.WriteJSON(w, http.StatusOK, list)
	return nil
}

// statesOf returns the states that the request asks for; none means all.
func statesOf(p *api.Params) (states []messages.GapState) {
	if !p.Values.Has("state") {
		return nil
	}
	for name := range strings.SplitSeq(p.Values.Get("state"), ",") {
		state := messages.GapState(name)
		if !slices.Contains(messages.GapStates, state) {
			p.Fail(api.Invalid("state", name, fmt.Sprintf("%v, with commas between them", messages.GapStates)))
		}
		states = append(states, state)
	}
	return states
}

// sortGaps puts the gaps first that may still be closed, and the newest of each kind first.
func sortGaps(rows []messages.GapRow) {
	slices.SortStableFunc(rows, func(a, b messages.GapRow) int {
		switch {
		case a.State.Final() == b.State.Final():
			return cmp.Or(b.OpenedAt.Compare(a.OpenedAt), strings.Compare(a.Feed, b.Feed), strings.Compare(a.ID, b.ID))
		case a.State.Final():
			return 1
		}
		return -1
	})
}

// gapRows returns the rows of the named feed's stream, or those of all streams if name is "". The
// ledgers are the store's, so it does not matter which daemon has the feed, or if one has.
func (s *Server) gapRows(ctx context.Context, name string) (rows []messages.GapRow, err error) {
	if name != "" {
		stream, err := s.store.Stream(ctx, name)
		if errors.Is(err, persistence.ErrNoStream) {
			_, err = s.control.Feed(ctx, name)
			return nil, err // a feed that has not begun its stream has no gaps
		}
		if err != nil {
			return nil, err
		}
		return stream.Gaps(ctx)
	}
	streams, err := s.store.Streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range streams {
		of, err := s.gapRows(ctx, info.Name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, of...)
	}
	return rows, nil
}

// measureGaps updates the metrics of the ledgers. A ledger that cannot be read keeps its last ones.
func (s *Server) measureGaps(ctx context.Context, streams []persistence.StreamInfo) {
	m := s.observer.Metrics()
	for _, info := range streams {
		rows, err := s.gapRows(ctx, info.Name)
		if err != nil {
			continue
		}
		states, lacking := make(map[messages.GapState]int), time.Duration(0)
		for _, row := range rows {
			states[row.State]++
			if row.Event == nil && !row.State.Final() && row.FromUS > 0 && row.ToUS > row.FromUS {
				lacking += time.Duration(row.ToUS-row.FromUS) * time.Microsecond
			}
		}
		for _, state := range messages.GapStates {
			m.Ledger.WithLabelValues(info.Name, string(state)).Set(float64(states[state]))
		}
		m.Lacking.WithLabelValues(info.Name).Set(lacking.Seconds())
	}
}

// repairGap tells a feed to fetch a gap now, or asks it what that would cost.
func (s *Server) repairGap(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "dry_run")
	dry, timeout := false, api.BriefTimeout
	switch given := p.Values.Get("dry_run"); given {
	case "", "false":
	case "true":
		dry, timeout = true, priceTimeout
		tail.Allow(w, timeout)
	default:
		p.Fail(api.Invalid("dry_run", given, "true, false"))
	}
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	feed, id := r.PathValue("feed"), r.PathValue("id")
	if err := s.findGap(ctx, feed, id); err != nil {
		return err
	}
	answer, err := s.control.RepairGap(ctx, feed, messages.RepairGap{ID: id, DryRun: dry})
	if err != nil {
		return err
	}
	if dry {
		offers := slices.Concat([]messages.GapOffer{}, answer.Offers) // so that JSON has [] and not null
		api.WriteJSON(w, http.StatusOK, messages.GapPrice{Gap: messages.NewGapStatus(answer.Row), Offers: offers})
		return nil
	}
	api.WriteJSON(w, http.StatusAccepted, map[string]any{"gap": messages.NewGapStatus(answer.Row), "accepted": "repair"})
	return nil
}

// dismissGap tells a feed to give a gap up.
func (s *Server) dismissGap(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "why")
	why := "dismissed by an operator"
	if p.Values.Has("why") {
		why = lineOf(p, "why", "for those who find the gap")
	}
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	feed, id := r.PathValue("feed"), r.PathValue("id")
	if err := s.findGap(ctx, feed, id); err != nil {
		return err
	}
	answer, err := s.control.DismissGap(ctx, feed, messages.DismissGap{ID: id, Why: why})
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusAccepted, map[string]any{"gap": messages.NewGapStatus(answer.Row), "accepted": "dismiss"})
	return nil
}

// findGap returns an error that names the feed's gaps if it has none of this ID.
func (s *Server) findGap(ctx context.Context, feed, id string) error {
	rows, err := s.gapRows(ctx, feed)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(row messages.GapRow) bool { return row.ID == id }) {
		return nil
	}
	const shown = 5
	sortGaps(rows)
	there := "none"
	for i, row := range rows[:min(len(rows), shown)] {
		if there += ", " + row.ID; i == 0 {
			there = row.ID
		}
	}
	if len(rows) > shown {
		there += fmt.Sprintf(" and %d more", len(rows)-shown)
	}
	return fmt.Errorf("%w in feed %s: got %s; there are: %s", messages.ErrNoGap, feed, api.Quote(id), there)
}
