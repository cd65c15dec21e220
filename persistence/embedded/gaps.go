package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
	"tempestd/persistence"
)

// gapKey is the key of a row of a stream's ledger. With an empty ID it is the prefix of the keys of
// all its rows.
func gapKey(stream, id string) []byte {
	key := append([]byte{gapPrefix}, stream...)
	return append(append(key, 0), id...)
}

// Gaps implements persistence.Ledger.
func (st *stream) Gaps(ctx context.Context) ([]messages.GapRow, error) {
	release, err := st.store.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return st.gaps()
}

func (st *stream) gaps() ([]messages.GapRow, error) {
	// The checkpoint is read first: a row that the next one does not carry any more is stored.
	var carried []messages.GapRow
	if cp := st.tip.Load().meta.checkpoint; cp != nil {
		carried = cp.Gaps
	}
	var stored []messages.GapRow
	err := st.store.state.each(gapKey(st.name, ""), func(_, body []byte) error {
		row, err := decodeGap(body)
		stored = append(stored, row)
		return err
	})
	if err != nil {
		return nil, err
	}
	return persistence.MergeGaps(stored, carried), nil
}

// SaveGaps implements persistence.Ledger.
func (st *stream) SaveGaps(ctx context.Context, rows []messages.GapRow) error {
	release, err := st.store.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	st.store.ledgers.Lock()
	defer st.store.ledgers.Unlock()
	changes, added, err := st.gapChanges(rows)
	if err != nil || len(changes) == 0 {
		return err
	}
	// A row must not say that entries are stored which a power cut can still take.
	if err := st.syncNow(); err != nil {
		return err
	}
	if err := st.store.state.putMany(changes); err != nil || added == 0 {
		return err
	}
	return st.dropGaps()
}

// gapChanges returns the changes that store the rows which are newer than the stored ones, and how
// many of them are not stored in any version.
func (st *stream) gapChanges(rows []messages.GapRow) (changes []change, added int, err error) {
	size := 0
	for _, row := range persistence.MergeGaps(rows, nil) {
		key := gapKey(st.name, row.ID)
		had, err := st.store.state.get(key)
		if err != nil {
			return nil, 0, err
		}
		if had != nil {
			old, err := decodeGap(had)
			if err != nil {
				return nil, 0, err
			}
			if old.Version >= row.Version {
				continue
			}
		} else {
			added++
		}
		body, err := json.Marshal(row)
		if err != nil {
			return nil, 0, fmt.Errorf("encode a gap: %w", err)
		}
		changes = append(changes, change{key, body})
		size += len(body)
	}
	return changes, added, st.store.space.check(uint64(size))
}

// dropGaps drops rows if the ledger has more than MaxGaps.
func (st *stream) dropGaps() error {
	n, err := st.store.state.count(gapKey(st.name, ""))
	if err != nil || n <= persistence.MaxGaps {
		return err
	}
	rows, err := st.gaps()
	if err != nil {
		return err
	}
	var changes []change
	for _, row := range persistence.SurplusGaps(rows) {
		changes = append(changes, change{key: gapKey(st.name, row.ID)})
	}
	return st.store.state.putMany(changes)
}

// putMany makes the changes, in as few transactions as they fit into.
func (t *state) putMany(changes []change) error {
	err := t.putAll(changes...)
	if half := len(changes) / 2; errors.Is(err, badger.ErrTxnTooBig) && half > 0 {
		if err := t.putMany(changes[:half]); err != nil {
			return err
		}
		return t.putMany(changes[half:])
	}
	return err
}

// count returns the number of keys that begin with prefix.
func (t *state) count(prefix []byte) (n int, err error) {
	db, release, err := t.use()
	if err != nil {
		return 0, err
	}
	defer release()
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	return n, err
}

func decodeGap(body []byte) (row messages.GapRow, err error) {
	if err := json.Unmarshal(body, &row); err != nil {
		return messages.GapRow{}, fmt.Errorf("decode a gap: %w", err)
	}
	return row, nil
}
