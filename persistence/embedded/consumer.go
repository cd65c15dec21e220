package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tempestd/persistence"
)

// consumerKey is the key of a stream's consumer. With an empty name it is the prefix of the keys of
// all its consumers.
func consumerKey(stream, name string) []byte {
	key := append([]byte{consumerPrefix}, stream...)
	return append(append(key, 0), name...)
}

// Consumer implements persistence.ConsumerStore.
func (s *Store) Consumer(ctx context.Context, stream, name string) (persistence.ConsumerState, error) {
	release, err := s.checkConsumer(ctx, stream, name)
	if err != nil {
		return persistence.ConsumerState{}, err
	}
	defer release()
	state, err := s.getConsumer(stream, name)
	if err == nil && state == nil {
		err = persistence.NoConsumerError(stream, name)
	}
	if err != nil {
		return persistence.ConsumerState{}, err
	}
	return *state, nil
}

// Consumers implements persistence.ConsumerStore.
func (s *Store) Consumers(ctx context.Context, stream string) ([]persistence.ConsumerState, error) {
	release, err := s.checkConsumer(ctx, stream, "")
	if err != nil {
		return nil, err
	}
	defer release()
	all := make([]persistence.ConsumerState, 0)
	err = s.state.each(consumerKey(stream, ""), func(_, body []byte) error {
		state, err := decodeConsumer(body)
		if err == nil {
			all = append(all, *state)
		}
		return err
	})
	return all, err
}

// UpdateConsumer implements persistence.ConsumerStore.
func (s *Store) UpdateConsumer(ctx context.Context, stream, name string,
	change func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error)) (*persistence.ConsumerState, error) {
	release, err := s.checkConsumer(ctx, stream, name)
	if err != nil {
		return nil, err
	}
	defer release()
	// One change at a time: each change sees the result of the one before.
	s.consumers.Lock()
	defer s.consumers.Unlock()
	if _, err := s.Stream(ctx, stream); err != nil { // it may have been deleted
		return nil, err
	}
	old, err := s.getConsumer(stream, name)
	if err != nil {
		return nil, err
	}
	fresh := old == nil
	state, err := change(s.clock.Now(), old)
	if err != nil || fresh && state == nil {
		return nil, err
	}
	key := consumerKey(stream, name)
	if state == nil {
		return nil, s.state.put(key, nil)
	}
	if fresh {
		if err := s.roomForConsumer(stream); err != nil {
			return nil, err
		}
	}
	state.Name = name
	body, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode a consumer: %w", err)
	}
	if err := s.space.check(uint64(len(body))); err != nil {
		return nil, err
	}
	if err := s.state.put(key, body); err != nil {
		return nil, err
	}
	return state, nil
}

// roomForConsumer returns an error if the stream already has MaxConsumers consumers.
func (s *Store) roomForConsumer(stream string) error {
	n := 0
	err := s.state.each(consumerKey(stream, ""), func(_, _ []byte) error {
		n++
		return nil
	})
	if err == nil && n >= persistence.MaxConsumers {
		err = persistence.TooManyConsumersError(stream)
	}
	return err
}

// checkConsumer checks the names and that the stream exists. It keeps the store open until release
// is called. The name may be "".
func (s *Store) checkConsumer(ctx context.Context, stream, name string) (release func(), err error) {
	if name != "" {
		if err := persistence.CheckName(name); err != nil {
			return nil, fmt.Errorf("consumer: %w", err)
		}
	}
	if _, err := s.Stream(ctx, stream); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.use()
}

// getConsumer returns the stored state, nil if there is none.
func (s *Store) getConsumer(stream, name string) (*persistence.ConsumerState, error) {
	body, err := s.state.get(consumerKey(stream, name))
	if err != nil || body == nil {
		return nil, err
	}
	return decodeConsumer(body)
}

func decodeConsumer(body []byte) (*persistence.ConsumerState, error) {
	state := new(persistence.ConsumerState)
	if err := json.Unmarshal(body, state); err != nil {
		return nil, fmt.Errorf("decode a consumer: %w", err)
	}
	return state, nil
}
