package valkey

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// Consumer implements persistence.ConsumerStore.
func (v *Store) Consumer(ctx context.Context, stream, name string) (persistence.ConsumerState, error) {
	raw, _, err := v.loadConsumer(ctx, stream, name)
	if err != nil {
		return persistence.ConsumerState{}, err
	}
	if raw == "" {
		return persistence.ConsumerState{}, persistence.NoConsumerError(stream, name)
	}
	return v.consumerState(stream, raw)
}

// Consumers implements persistence.ConsumerStore.
func (v *Store) Consumers(ctx context.Context, stream string) ([]persistence.ConsumerState, error) {
	if _, err := v.Stream(ctx, stream); err != nil {
		return nil, err
	}
	key := newStreamKeys(v.opt.Prefix, stream).consumers
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.Hvals().Key(key).Build() })
	if err != nil {
		return nil, err
	}
	values, err := decodeTexts("the list of consumers", m)
	if err != nil {
		return nil, v.refuse("stream %s: %v", stream, err)
	}
	all := make([]persistence.ConsumerState, len(values))
	for i, value := range values {
		if all[i], err = v.consumerState(stream, value); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b persistence.ConsumerState) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// UpdateConsumer implements persistence.ConsumerStore. The new state only replaces the exact value
// that it was made from. If that value has changed, change is called again.
func (v *Store) UpdateConsumer(ctx context.Context, stream, name string, change func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error)) (*persistence.ConsumerState, error) {
	for {
		raw, now, err := v.loadConsumer(ctx, stream, name)
		if err != nil {
			return nil, err
		}
		var state *persistence.ConsumerState
		if raw != "" {
			had, err := v.consumerState(stream, raw)
			if err != nil {
				return nil, err
			}
			state = &had
		}
		if state, err = change(now, state); err != nil || state == nil && raw == "" {
			return nil, err
		}
		value := ""
		if state != nil {
			state.Name = name
			text, err := json.Marshal(state)
			if err != nil {
				return nil, fmt.Errorf("encode a consumer: %w", err)
			}
			value = string(text)
		}
		m, err := v.run(ctx, scriptConsumer, []string{newStreamKeys(v.opt.Prefix, stream).consumers}, name, raw, value, strconv.Itoa(persistence.MaxConsumers))
		if err != nil {
			return nil, err
		}
		verdict, err := decodeText("the answer to a change", m)
		if err != nil {
			return nil, v.refuse("consumer %s of stream %s: %v", name, stream, err)
		}
		switch verdict {
		case "OK":
			return state, nil
		case "FULL":
			return nil, persistence.TooManyConsumersError(stream)
		case "CHANGED":
		default:
			return nil, v.refuse("consumer %s of stream %s: its answer is %.80q", name, stream, verdict)
		}
	}
}

// loadConsumer returns a consumer as it is stored ("" if there is none) and the server's time.
func (v *Store) loadConsumer(ctx context.Context, stream, name string) (raw string, now time.Time, err error) {
	if err := persistence.CheckName(name); err != nil {
		return "", now, fmt.Errorf("consumer: %w", err)
	}
	if _, err := v.Stream(ctx, stream); err != nil {
		return "", now, err
	}
	key := newStreamKeys(v.opt.Prefix, stream).consumers
	m, err := v.run(ctx, scriptGetConsumer, []string{key}, name)
	if err != nil {
		return "", now, err
	}
	r, err := decodeConsumer(m)
	if err != nil {
		return "", now, v.refuse("consumer %s of stream %s: %v", name, stream, err)
	}
	return r.state, r.now, nil
}

// consumerState decodes the JSON of a stored consumer.
func (v *Store) consumerState(stream, raw string) (state persistence.ConsumerState, err error) {
	if err := json.Unmarshal([]byte(raw), &state); err != nil {
		return persistence.ConsumerState{}, v.refuse("a consumer of stream %s: %v", stream, err)
	}
	return state, nil
}
