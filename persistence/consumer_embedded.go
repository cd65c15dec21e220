package persistence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// consumerKey is the key of a stream's consumer, and with an empty name what the keys of all of them begin with.
func consumerKey(stream, name string) []byte {
	key := append([]byte{consumerPrefix}, stream...)
	return append(append(key, 0), name...)
}

// Consumer implements ConsumerStore.
func (e *Embedded) Consumer(ctx context.Context, stream, name string) (ConsumerState, error) {
	var state *ConsumerState
	err := e.lookAtConsumers(ctx, stream, name, func(txn *badger.Txn) (err error) {
		state, err = getConsumer(txn, stream, name)
		return err
	})
	if err == nil && state == nil {
		err = noConsumer(stream, name)
	}
	if err != nil {
		return ConsumerState{}, err
	}
	return *state, nil
}

// Consumers implements ConsumerStore.
func (e *Embedded) Consumers(ctx context.Context, stream string) ([]ConsumerState, error) {
	all := make([]ConsumerState, 0)
	err := e.lookAtConsumers(ctx, stream, "", func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: consumerKey(stream, "")})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			state, err := readConsumer(it.Item())
			if err != nil {
				return err
			}
			all = append(all, *state)
		}
		return ctx.Err()
	})
	return all, err
}

// UpdateConsumer implements ConsumerStore.
func (e *Embedded) UpdateConsumer(ctx context.Context, stream, name string, change func(time.Time, *ConsumerState) (*ConsumerState, error)) (*ConsumerState, error) {
	// Changes follow one another: each sees what the one before it left.
	e.consumers.Lock()
	defer e.consumers.Unlock()
	var old *ConsumerState
	err := e.lookAtConsumers(ctx, stream, name, func(txn *badger.Txn) (err error) {
		old, err = getConsumer(txn, stream, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	fresh := old == nil
	state, err := change(e.clock.Now(), old)
	if err != nil || fresh && state == nil {
		return nil, err
	}
	release, err := e.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if state == nil {
		return nil, e.update(func(txn *badger.Txn) error { return txn.Delete(consumerKey(stream, name)) })
	}
	if fresh {
		if err := e.roomForConsumer(stream); err != nil {
			return nil, err
		}
	}
	state.Name = name
	value, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode a consumer: %w", err)
	}
	if err := e.space.check(uint64(len(value))); err != nil {
		return nil, err
	}
	if err := e.update(func(txn *badger.Txn) error { return txn.Set(consumerKey(stream, name), value) }); err != nil {
		return nil, err
	}
	return state, nil
}

// roomForConsumer refuses the consumer that would be one too many.
func (e *Embedded) roomForConsumer(stream string) error {
	n := 0
	err := e.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: consumerKey(stream, "")})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return nil
	})
	if err == nil && n >= MaxConsumers {
		err = tooManyConsumers(stream)
	}
	return err
}

func noConsumer(stream, name string) error {
	return fmt.Errorf("%w: stream %s has none named %.80q", ErrNoConsumer, stream, name)
}

func tooManyConsumers(stream string) error {
	return fmt.Errorf("%w: stream %s has %d consumers, the most there may be", ErrBadBound, stream, MaxConsumers)
}

// lookAtConsumers runs look in a read transaction, once the names are known to be good and the stream to be there. The name may be "".
func (e *Embedded) lookAtConsumers(ctx context.Context, stream, name string, look func(*badger.Txn) error) error {
	if name != "" {
		if err := checkName(name); err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
	}
	if _, err := e.Stream(ctx, stream); err != nil {
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
	return e.db.View(look)
}

// getConsumer is the stored state, nil where there is none.
func getConsumer(txn *badger.Txn, stream, name string) (*ConsumerState, error) {
	item, err := txn.Get(consumerKey(stream, name))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readConsumer(item)
}

func readConsumer(item *badger.Item) (*ConsumerState, error) {
	state := new(ConsumerState)
	err := item.Value(func(v []byte) error { return json.Unmarshal(v, state) })
	if err != nil {
		return nil, fmt.Errorf("decode a consumer: %w", err)
	}
	return state, nil
}
