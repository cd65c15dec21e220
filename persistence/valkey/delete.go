package valkey

import (
	"context"
	"fmt"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// scriptDelete removes a stream unless its lease is held. The epoch stays: whoever holds an older
// lease is fenced out of a stream that gets the same name later. KEYS: stream, meta, blocks, closed,
// lease, consumers, gaps, shown.
var scriptDelete = newScript(`
if redis.call('GET', KEYS[5]) then
  return redis.call('HGET', KEYS[2], 'owner') or ''
end
local epoch = redis.call('HGET', KEYS[2], 'epoch')
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[7], KEYS[8])
if epoch then
  redis.call('HSET', KEYS[2], 'epoch', epoch + 1)
end
return 1`)

// DeleteStream implements persistence.Store. The server removes the entries in the background.
func (v *Store) DeleteStream(ctx context.Context, name string) error {
	if _, err := v.Stream(ctx, name); err != nil {
		return err
	}
	k := newStreamKeys(v.opt.Prefix, name)
	m, err := v.run(ctx, scriptDelete, []string{k.stream, k.meta, k.blocks, k.closed, k.lease, k.consumers, k.gaps, k.shown})
	if err != nil {
		return err
	}
	if owner, err := m.ToString(); err == nil {
		return fmt.Errorf("%w: %.64q holds the lease of stream %s", messages.ErrNotNow, owner, name)
	}
	// A stream that stays on the list is empty, and can be deleted again.
	if _, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.Srem().Key(v.streamsKey()).Member(name).Build() }); err != nil {
		return err
	}
	v.mu.Lock()
	h, writer := v.hubs[name], v.writers[name]
	delete(v.hubs, name)
	delete(v.writers, name)
	v.mu.Unlock()
	if h != nil {
		h.close()
	}
	if writer != nil {
		writer.conn.close()
	}
	v.emit(persistence.StreamDeleted{Stream: name})
	return nil
}
