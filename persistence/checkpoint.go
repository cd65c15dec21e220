package persistence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
)

// SaveCheckpoint implements CheckpointStore.
func (e *Embedded) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	if err := checkName(feed); err != nil {
		return err
	}
	release, err := e.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	value, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode a checkpoint: %w", err)
	}
	if err := e.space.check(uint64(len(value))); err != nil {
		return err
	}
	return e.update(func(txn *badger.Txn) error { return txn.Set(checkpointKey(feed), value) })
}

// LoadCheckpoint implements CheckpointStore.
func (e *Embedded) LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error) {
	var cp messages.Checkpoint
	release, err := e.use()
	if err != nil {
		return cp, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return cp, err
	}
	err = e.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(checkpointKey(feed))
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error { return json.Unmarshal(v, &cp) })
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return messages.Checkpoint{}, fmt.Errorf("%w for feed %.80q", ErrNoCheckpoint, feed)
	}
	return cp, err
}
