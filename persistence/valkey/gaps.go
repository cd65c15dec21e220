package valkey

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"tempestd/messages"
	"tempestd/persistence"
)

// Gaps implements persistence.Ledger.
func (s *stream) Gaps(ctx context.Context) ([]messages.GapRow, error) {
	m, err := s.store.run(ctx, scriptGaps, []string{s.keys.meta, s.keys.gaps})
	if err != nil {
		return nil, err
	}
	r, err := decodeGaps(m)
	if err != nil {
		return nil, s.refuse(err)
	}
	var cp messages.Checkpoint
	if r.checkpoint != "" {
		if err := json.Unmarshal([]byte(r.checkpoint), &cp); err != nil {
			return nil, s.store.refuse("the checkpoint of stream %s: %v", s.name, err)
		}
	}
	stored := make([]messages.GapRow, len(r.rows))
	for i, row := range r.rows {
		if err := json.Unmarshal([]byte(row), &stored[i]); err != nil {
			return nil, s.store.refuse("a gap of stream %s: %v", s.name, err)
		}
	}
	return persistence.MergeGaps(stored, cp.Gaps), nil
}

// SaveGaps implements persistence.Ledger.
func (s *stream) SaveGaps(ctx context.Context, rows []messages.GapRow) error {
	if s.lease.IsZero() {
		return readOnlyError(s.name)
	}
	if len(rows) == 0 {
		return nil
	}
	changes := make([]string, 0, 3*len(rows))
	for _, row := range rows {
		body, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encode a gap: %w", err)
		}
		changes = append(changes, row.ID, strconv.FormatUint(row.Version, 10), string(body))
	}
	n, err := s.changeGaps(ctx, changes)
	if err != nil || n <= persistence.MaxGaps {
		return err
	}
	all, err := s.Gaps(ctx)
	if err != nil {
		return err
	}
	changes = changes[:0]
	for _, row := range persistence.SurplusGaps(all) {
		changes = append(changes, row.ID, strconv.FormatUint(row.Version, 10), "")
	}
	_, err = s.changeGaps(ctx, changes)
	return err
}

// changeGaps runs scriptSaveGaps with the changes: ID, version and JSON of each row. It returns how
// many rows the ledger has then.
func (s *stream) changeGaps(ctx context.Context, changes []string) (int64, error) {
	args := append([]string{strconv.FormatUint(s.lease.Epoch, 10), s.lease.Node}, changes...)
	m, err := s.store.run(ctx, scriptSaveGaps, []string{s.keys.meta, s.keys.gaps}, args...)
	if err != nil {
		return 0, err
	}
	r, err := decodeSaveGaps(m)
	if err != nil {
		return 0, s.refuse(err)
	}
	if r.verdict == appendFenced {
		return 0, &persistence.FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: r.epoch, Owner: r.owner}
	}
	return r.rows, nil
}

// readOnlyError is the error of a change through a handle without a lease.
func readOnlyError(stream string) error {
	return fmt.Errorf("stream %s was opened without a lease: it can only be read", stream)
}
