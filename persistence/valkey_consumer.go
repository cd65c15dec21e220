package persistence

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Consumer implements ConsumerStore.
func (v *Valkey) Consumer(ctx context.Context, stream, name string) (ConsumerState, error) {
	raw, _, err := v.loadConsumer(ctx, stream, name)
	if err != nil {
		return ConsumerState{}, err
	}
	if raw == "" {
		return ConsumerState{}, noConsumer(stream, name)
	}
	return decodeConsumer(raw)
}

// Consumers implements ConsumerStore.
func (v *Valkey) Consumers(ctx context.Context, stream string) ([]ConsumerState, error) {
	if _, err := v.Stream(ctx, stream); err != nil {
		return nil, err
	}
	key := newValkeyKeys(v.opt.Prefix, stream).consumers
	m, err := v.do(ctx, func(b valkey.Builder) valkey.Completed { return b.Hvals().Key(key).Build() })
	if err != nil {
		return nil, err
	}
	values, err := m.AsStrSlice()
	if err != nil {
		return nil, v.failure(ctx, err)
	}
	all := make([]ConsumerState, len(values))
	for i, value := range values {
		if all[i], err = decodeConsumer(value); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b ConsumerState) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// UpdateConsumer implements ConsumerStore: the new state takes the place of the very value that it was made from, or it is made anew.
func (v *Valkey) UpdateConsumer(ctx context.Context, stream, name string, change func(time.Time, *ConsumerState) (*ConsumerState, error)) (*ConsumerState, error) {
	for {
		raw, now, err := v.loadConsumer(ctx, stream, name)
		if err != nil {
			return nil, err
		}
		var state *ConsumerState
		if raw != "" {
			had, err := decodeConsumer(raw)
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
		m, err := v.run(ctx, scriptConsumer, []string{newValkeyKeys(v.opt.Prefix, stream).consumers}, name, raw, value, strconv.Itoa(MaxConsumers))
		if err != nil {
			return nil, err
		}
		switch verdict, _ := m.ToString(); verdict {
		case "OK":
			return state, nil
		case "FULL":
			return nil, tooManyConsumers(stream)
		}
	}
}

// loadConsumer is a consumer as it is stored, "" where there is none, and the server's time.
func (v *Valkey) loadConsumer(ctx context.Context, stream, name string) (raw string, now time.Time, err error) {
	if err := checkName(name); err != nil {
		return "", now, fmt.Errorf("consumer: %w", err)
	}
	if _, err := v.Stream(ctx, stream); err != nil {
		return "", now, err
	}
	key := newValkeyKeys(v.opt.Prefix, stream).consumers
	m, err := v.run(ctx, scriptGetConsumer, []string{key}, name)
	if err != nil {
		return "", now, err
	}
	f := stringsOf(m)
	return f[2], time.Unix(number(f[0]), number(f[1])*1000).UTC(), nil
}

func decodeConsumer(raw string) (state ConsumerState, err error) {
	if err := json.Unmarshal([]byte(raw), &state); err != nil {
		return state, fmt.Errorf("decode a consumer: %w", err)
	}
	return state, nil
}
