package valkey

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// Values of Options.Durability: what an append waits for before it is confirmed and shown to
// readers.
const (
	// DurabilityMemory waits for the server's answer alone.
	DurabilityMemory = "memory"
	// DurabilityAOF waits until the server has synced its append-only file.
	DurabilityAOF = "aof"
	// DurabilityReplicas also waits until Options.Replicas replicas have the append in memory.
	DurabilityReplicas = "replicas"
)

// Durabilities are the accepted values of Options.Durability.
var Durabilities = []string{DurabilityMemory, DurabilityAOF, DurabilityReplicas}

// How it works. With a level above memory an append is: the chunks and the waits on one connection,
// then a script that records the newest entry as shown. Readers get no entry after the one that is
// recorded (scriptPage, scriptInfo, fetch). The record is in the server, so
// the readers of all daemons follow it.
//
// WAITAOF and WAIT wait for the writes of their own connection, and answer at once on a connection
// without writes. So they are always sent behind a write: the last chunk, or scriptTouch if
// everything is stored. Both go through a dedicated connection, which follows no redirection of a
// cluster: a node that did not get the write would confirm it.
//
// They are sent when the write was answered, and not together with it: the server syncs its file
// before it answers, and looks at waits that came earlier only a tenth of a second later.
//
// The files of replicas are not waited for. A replica reports what it has synced once a second, so
// that would delay each append by up to a second.
//
// A wait that ends without success leaves the append in doubt, like an answer that was lost. The
// next append with the same content asks, stores what is missing and waits again.

// waits reports whether appends wait for more than the server's answer.
func (o *Options) waits() bool { return o.Durability != DurabilityMemory }

// replicas is how many replicas must have an append.
func (o *Options) replicas() int64 {
	if o.Durability != DurabilityReplicas {
		return 0
	}
	return int64(o.Replicas)
}

// wait sends the commands that wait. They end before the call does, so that their answers tell what
// is missing.
func (v *Store) wait(ctx context.Context, client valkeygo.CoreClient) []valkeygo.ValkeyResult {
	millis := v.opt.CommandTimeout.Milliseconds()
	commands := []valkeygo.Completed{client.B().Waitaof().Numlocal(1).Numreplicas(0).Timeout(max(millis/2, 1)).Build()}
	if n := v.opt.replicas(); n > 0 {
		commands = append(commands, client.B().Wait().Numreplicas(n).Timeout(max(millis/4, 1)).Build())
	}
	return client.DoMulti(ctx, commands...)
}

// reached judges the answers of the commands that wait.
func (s *stream) reached(ctx context.Context, waits []valkeygo.ValkeyResult) error {
	messages := make([]valkeygo.ValkeyMessage, len(waits))
	for i, r := range waits {
		var err error
		if messages[i], err = r.ToMessage(); err != nil {
			if r.NonValkeyError() != nil {
				s.conn.reset()
			}
			return s.store.failure(ctx, err)
		}
	}
	missing := func(reason, format string, args ...any) error {
		return &persistence.UnavailableError{Store: s.store.where(), Reason: reason, Err: fmt.Errorf(format, args...)}
	}
	synced, err := decodeSynced(messages[0])
	if err != nil {
		return s.refuse(err)
	}
	if synced < 1 {
		return missing(persistence.ReasonTimeout, "it has not synced its append-only file in time")
	}
	if want := s.store.opt.replicas(); want > 0 {
		have, err := decodeNumber("the answer to WAIT", messages[1])
		if err != nil {
			return s.refuse(err)
		}
		if have < want {
			return missing(persistence.ReasonReadOnly, "%d of %d replicas had an append in time", have, want)
		}
	}
	return nil
}

// settle waits until everything that is stored is durable. It needs a write on the connection, and
// writes what is there.
func (s *stream) settle(ctx context.Context, end ending) error {
	var touched valkeygo.ValkeyMessage
	waits, err := call(ctx, s.store, s.conn, func(ctx context.Context, client valkeygo.Client) (waits []valkeygo.ValkeyResult, err error) {
		err = client.Dedicated(func(c valkeygo.DedicatedClient) error {
			r := c.Do(ctx, s.markCommand(c, scriptTouch, end, false))
			if isNoScript(r.Error()) {
				r = c.Do(ctx, s.markCommand(c, scriptTouch, end, true))
			}
			var err error
			if touched, err = r.ToMessage(); err == nil {
				waits = s.store.wait(ctx, c)
			}
			return err
		})
		return waits, err
	})
	if err != nil {
		s.conn.reset()
		return err
	}
	if err := s.marked(end, touched); err != nil {
		return err
	}
	return s.reached(ctx, waits)
}

// show records that the stream is durable up to end, and wakes the readers. At the level memory it
// removes the record of another writer: then everything is shown.
func (s *stream) show(ctx context.Context, end ending) error {
	script := scriptShow
	if !s.store.opt.waits() {
		script = scriptShowAll
	}
	m, err := s.store.run(ctx, script, s.markKeys(), s.markArgs(end)...)
	if err != nil {
		return err
	}
	return s.marked(end, m)
}

func (s *stream) markKeys() []string { return []string{s.keys.meta, s.keys.shown} }

func (s *stream) markArgs(end ending) []string {
	return []string{strconv.FormatUint(s.lease.Epoch, 10), s.lease.Node, end.last.String(), end.token}
}

func (s *stream) markCommand(client valkeygo.CoreClient, script *script, end ending, whole bool) valkeygo.Completed {
	if whole {
		return client.B().Eval().Script(script.source).Numkeys(2).Key(s.markKeys()...).Arg(s.markArgs(end)...).Build()
	}
	return client.B().Evalsha().Sha1(script.sha).Numkeys(2).Key(s.markKeys()...).Arg(s.markArgs(end)...).Build()
}

// marked handles the answer of one of the three scripts. The stream must still end where the writer
// left it.
func (s *stream) marked(end ending, m valkeygo.ValkeyMessage) error {
	r, err := decodeAppend(m)
	if err != nil {
		return s.refuse(err)
	}
	switch r.verdict {
	case appendOK:
		return nil
	case appendFenced:
		return &persistence.FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: r.epoch, Owner: r.owner}
	case appendConflict:
		return &persistence.ConflictError{Stream: s.name, Expected: end.last, Found: r.last}
	}
	return s.refuse(fmt.Errorf("the script answered %.80q", r.verdict))
}

// checkDurability refuses a server that cannot do what the level asks for. The caller is healthy
// otherwise.
func (v *Store) checkDurability(ctx context.Context, info serverInfo) error {
	if !v.opt.waits() {
		return nil
	}
	level := func(format string, args ...any) error {
		return fmt.Errorf("the durability %q needs %s", v.opt.Durability, fmt.Sprintf(format, args...))
	}
	if name, version, known := info.version(); known && version.before(7, 2) {
		return level("WAITAOF: the server is %s %s; accepted: Valkey 7.2 or later, Redis 7.2 or later", name, version)
	}
	if info["aof_enabled"] == "0" {
		return level("appendonly yes at the server")
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		return level("maxmemory-policy noeviction at the server; it is %.30s", policy)
	}
	if have, err := strconv.ParseInt(info["connected_slaves"], 10, 64); err == nil && info["role"] == "master" && have < v.opt.replicas() {
		return level("%d replicas; the server has %d", v.opt.replicas(), have)
	}
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.ConfigGet().Parameter("appendfsync").Build() })
	if away, ok := errors.AsType[*persistence.UnavailableError](err); ok && away.Reason == persistence.ReasonRefused {
		return nil // the user may not ask; with appendfsync no the waits themselves end without success
	} else if err != nil {
		return err
	}
	// With everysec each append waits up to a second, and some servers answer WAITAOF before they
	// have synced (docs/valkey.md).
	if config, err := m.AsStrMap(); err == nil && config["appendfsync"] != "" && config["appendfsync"] != "always" {
		return level("appendfsync always at the server; it is %.30s", config["appendfsync"])
	}
	return nil
}

// endFunction runs a change if the writer's lease is the newest and the stream ends where the writer
// left it. The answer is one of the append script's.
const endFunction = `
local function at(change)
  local m = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'last', 'token', 'entries', 'owner')
  if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] then
    return {'FENCED', m[1] or '0', m[2] ~= '' and m[6] or ''}
  end
  if (m[3] or '0-0') ~= ARGV[3] or (m[4] or '') ~= ARGV[4] then
    return {'CONFLICT', m[3] or '0-0'}
  end
  change(tonumber(m[5] or 0))
  return {'OK', 0, 0, ''}
end`

var (
	// The three scripts of durability. KEYS: meta, shown. ARGV: epoch, node, last and
	// token of the stream's end. The stream must end there.
	//
	// scriptTouch writes what is there, so that a wait for durability has a write to wait for.
	scriptTouch = newScript(endFunction, `return at(function(entries)
  redis.call('HSET', KEYS[1], 'token', ARGV[4])
end)`)

	// scriptShow shows the stream up to its end.
	scriptShow = newScript(endFunction, `return at(function(entries)
  redis.call('HSET', KEYS[1], 'shown', ARGV[3], 'shown_entries', entries)
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if ARGV[3] ~= '0-0' and not (newest and newest[1] == ARGV[3]) then
    redis.call('XADD', KEYS[2], 'MAXLEN', '=', 1, ARGV[3], 'e', entries)
  end
end)`)

	// scriptShowAll shows all entries from now on.
	scriptShowAll = newScript(endFunction, `return at(function()
  redis.call('HDEL', KEYS[1], 'shown', 'shown_entries')
  redis.call('DEL', KEYS[2])
end)`)
)
