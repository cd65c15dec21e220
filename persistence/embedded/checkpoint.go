package embedded

import (
	"context"
	"encoding/json"
	"fmt"

	"tempestd/messages"
	"tempestd/persistence"
)

// SaveCheckpoint implements persistence.CheckpointStore.
func (s *Store) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	if err := persistence.CheckName(feed); err != nil {
		return err
	}
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	body, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode a checkpoint: %w", err)
	}
	if err := s.space.check(uint64(len(body))); err != nil {
		return err
	}
	return s.state.put(append([]byte{checkpointPrefix}, feed...), body)
}

// LoadCheckpoint implements persistence.CheckpointStore.
func (s *Store) LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error) {
	release, err := s.use()
	if err != nil {
		return messages.Checkpoint{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return messages.Checkpoint{}, err
	}
	body, err := s.state.get(append([]byte{checkpointPrefix}, feed...))
	if err != nil {
		return messages.Checkpoint{}, err
	}
	if body == nil {
		return messages.Checkpoint{}, fmt.Errorf("%w for feed %.80q", persistence.ErrNoCheckpoint, feed)
	}
	cp, err := decodeCheckpoint(body)
	if err != nil {
		return messages.Checkpoint{}, err
	}
	return *cp, nil
}
