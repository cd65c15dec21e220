package valkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// Health implements persistence.Store. It asks the server, within the command timeout. The server
// must be new enough, must have read its data, must accept writes, must let the user do everything
// that the store does, and must not be configured to evict streams when its memory is full. What
// the server does not tell about itself is not held against it. The last operations of this process
// must not have failed either: a store that refuses appends is not healthy, whatever else works.
func (v *Store) Health() error {
	ctx := context.Background()
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Info().Section("server", "replication", "persistence", "memory").Build()
	})
	if away, ok := errors.AsType[*persistence.UnavailableError](err); err != nil && !(ok && away.Reason == persistence.ReasonRefused) {
		return err
	}
	var info serverInfo
	if err == nil {
		text, err := decodeText("the information about the server", m)
		if err != nil {
			return v.refuse("%v", err)
		}
		info = parseInfo(text)
	}
	switch {
	case info["loading"] == "1":
		return &persistence.UnavailableError{Store: v.where(), Reason: persistence.ReasonLoading, Err: errors.New("it reads its data")}
	// In a cluster any node may have answered.
	case info["role"] == "slave" && info["redis_mode"] != "cluster" && info["server_mode"] != "cluster":
		return &persistence.UnavailableError{Store: v.where(), Reason: persistence.ReasonReadOnly, Err: errors.New("it is a replica")}
	}
	if err := info.check(); err != nil {
		return err
	}
	if err := v.checkDurability(ctx, info); err != nil {
		return err
	}
	for _, name := range v.probed() {
		if err := v.probe(ctx, name); err != nil {
			return err
		}
	}
	return v.trouble()
}

// probed returns the streams whose keys are probed: the streams that this process may append to,
// or, if there are none, a name that no stream can have.
func (v *Store) probed() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := make([]string, 0, len(v.writers)+1)
	for name := range v.writers {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		names = append(names, ":probe")
	}
	return names
}

func (v *Store) probe(ctx context.Context, name string) error {
	k, nodes := newStreamKeys(v.opt.Prefix, name), nodeKeys(v.opt.Prefix)
	waits := "0"
	if v.opt.waits() {
		waits = "1"
	}
	m, err := v.run(ctx, scriptProbe, []string{k.probe, k.stream, k.meta, k.blocks, k.closed, k.lease, k.consumers, k.gaps, k.shown}, v.streamsKey(), nodes[0], nodes[1], waits)
	if err != nil {
		return err
	}
	r, err := decodeProbe(m)
	if err != nil {
		return v.refuse("%v", err)
	}
	switch r.verdict {
	case "OK":
		return nil
	case "DENIED":
		return v.refuse("NOPERM the user %s may not run %s on %s", v.user(), r.command, r.key)
	}
	return v.refuse("the answer to a probe is %.80q", r.verdict)
}

func (v *Store) user() string {
	if v.opt.Username == "" {
		return "default"
	}
	return v.opt.Username
}

// trouble is a failed operation.
type trouble struct {
	err error
	at  time.Time
}

// troubled is how long a failure counts against the server. A caller that still wants the operation
// repeats it much sooner.
const troubled = 30 * time.Second

// note records the outcome of an operation that this process repeats again and again.
func (v *Store) note(what string, err error) {
	away, ok := errors.AsType[*persistence.UnavailableError](err)
	if err != nil && !ok && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return // this says nothing about the server
	}
	now := v.clock.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if ok {
		v.troubles[what] = trouble{away, now}
	} else {
		delete(v.troubles, what)
	}
}

// trouble returns one of the recent failures.
func (v *Store) trouble() error {
	now := v.clock.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	whats := make([]string, 0, len(v.troubles))
	for what, t := range v.troubles {
		if now.Sub(t.at) > troubled {
			delete(v.troubles, what)
			continue
		}
		whats = append(whats, what)
	}
	if len(whats) == 0 {
		return nil
	}
	slices.Sort(whats)
	return fmt.Errorf("%s: %w", whats[0], v.troubles[whats[0]].err)
}

// serverInfo is the server's INFO, by name.
type serverInfo map[string]string

func parseInfo(text string) serverInfo {
	info := make(serverInfo)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// serverVersion is the version of a server, without its patch level.
type serverVersion struct{ major, minor int }

func (v serverVersion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v serverVersion) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

// version returns the server's name and version, if it tells them.
func (i serverInfo) version() (name string, v serverVersion, known bool) {
	name, text := "Valkey", i["valkey_version"]
	if text == "" {
		name, text = "Redis", i["redis_version"]
	}
	_, err := fmt.Sscanf(text, "%d.%d", &v.major, &v.minor)
	return name, v, err == nil
}

// check refuses a server that lacks a required feature, or that would drop stored data.
func (i serverInfo) check() error {
	// A server that hides its version is accepted.
	name, version, known := i.version()
	if known && (version.before(7, 0) || name == "Valkey" && version.before(7, 2)) {
		return fmt.Errorf("the server is %s %s; accepted: Valkey 7.2 or later, Redis 7.0 or later", name, version)
	}
	policy := i["maxmemory_policy"]
	if limit, _ := strconv.ParseInt(i["maxmemory"], 10, 64); limit > 0 && strings.HasPrefix(policy, "allkeys-") {
		return fmt.Errorf("the server evicts streams when its memory is full: its maxmemory-policy is %.30s; accepted: noeviction", policy)
	}
	return nil
}

// scriptProbe finds out whether the other scripts and commands would work. It writes nothing.
// It asks the server what the user may do and reads each kind of key. It also adds an entry on
// the condition that its stream exists, and the stream does not exist. For this command the
// server must accept writes: it must not be a replica, must have free memory, must be able to
// save, and must have its own replicas.
//
// KEYS: probe, stream, meta, blocks, closed, lease, consumers, gaps, shown. ARGV: streams, nodes,
// until; these keys are not in this node of a cluster. 4 is 1 if appends wait for durability.
var scriptProbe = newScript(`
local stream, meta, blocks, closed, lease, consumers, gaps, shown = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local streams, nodes, untils = ARGV[1], ARGV[2], ARGV[3]
local needed = {
  {'HMGET', meta, 'last'}, {'HGET', meta, 'cursor'}, {'HSET', meta, 'last', ''}, {'HINCRBY', meta, 'epoch', 1},
  {'XADD', stream, '*', 'json', ''}, {'XADD', blocks, '*', 'f', ''}, {'XADD', closed, '1-0', 'at', ''},
  {'XRANGE', stream, '-', '+'}, {'XRANGE', blocks, '-', '+'}, {'XREVRANGE', blocks, '+', '-'},
  {'XREAD', 'STREAMS', stream, closed, '0-0', '0-0'}, {'XINFO', 'STREAM', stream},
  {'XTRIM', stream, 'MINID', '=', '0'}, {'XTRIM', blocks, 'MINID', '=', '0'},
  {'GET', lease}, {'SET', lease, '', 'PX', 1}, {'DEL', lease}, {'PTTL', lease}, {'UNLINK', stream},
  {'HGET', consumers, ''}, {'HSET', consumers, '', ''}, {'HDEL', consumers, ''}, {'HLEN', consumers}, {'HVALS', consumers},
  {'HGET', gaps, ''}, {'HSET', gaps, '', ''}, {'HDEL', gaps, ''}, {'HLEN', gaps}, {'HVALS', gaps},
  {'SADD', streams, ''}, {'SREM', streams, ''}, {'SISMEMBER', streams, ''}, {'SMEMBERS', streams},
  {'HSET', nodes, '', ''}, {'HDEL', nodes, ''}, {'HVALS', nodes},
  {'ZADD', untils, 0, ''}, {'ZREM', untils, ''}, {'ZRANGEBYSCORE', untils, 0, 0}, {'TIME'},
}
if ARGV[4] == '1' then
  table.insert(needed, {'XADD', shown, '*', 'e', ''})
  table.insert(needed, {'WAITAOF', '1', '0', '1'})
  table.insert(needed, {'WAIT', '1', '1'})
end
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then
    local key = command[1] == 'XREAD' and stream or command[1] == 'XINFO' and stream or command[2] or ''
    return {'DENIED', command[1], key}
  end
end
redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
redis.call('XRANGE', blocks, '-', '+', 'COUNT', 1)
redis.call('HMGET', meta, 'last')
redis.call('GET', lease)
redis.call('HLEN', consumers)
redis.call('HLEN', gaps)
redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'x', '')
return {'OK', '', ''}`)
