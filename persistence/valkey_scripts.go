package persistence

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// The scripts that run in the server, each one atomic step. The meta hash of a stream has
//
//	layout                          the version of all this
//	epoch, node, owner              the newest lease: its epoch, the ID and name of its holder ("" once released)
//	last, token                     the newest entry's ID and which append it came with
//	entries, bytes                  ever appended
//	dropped_entries, dropped_bytes  by retention
//	trimmed                         the newest entry that retention dropped
//	checkpoint                      what travels with the appends
//	cursor                          the cursor actor's checkpoint
//	closed_us, closed_reason        once the stream is closed

// script is a Lua script and the name the server knows it by.
type script struct{ source, sha string }

func newScript(parts ...string) *script {
	source := strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

// trimFunction drops whole blocks from the oldest on, a bounded number at a time.
// KEYS: stream, meta, blocks. ms, n and b are the bounds: the oldest millisecond to keep, entries and bytes; 0 sets none.
const trimFunction = `
local function trim(ms, n, b, budget)
  local m = redis.call('HMGET', KEYS[2], 'entries', 'bytes', 'dropped_entries', 'dropped_bytes')
  local dn, db = tonumber(m[3] or 0), tonumber(m[4] or 0)
  local kn, kb = tonumber(m[1] or 0) - dn, tonumber(m[2] or 0) - db
  local page = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', budget + 1)
  local trimmed, following
  local entries, bytes = 0, 0
  for i, block in ipairs(page) do
    local f = block[2]
    local count, size = tonumber(f[4]), tonumber(f[6])
    local old = ms > 0 and tonumber(string.match(block[1], '^(%d+)')) < ms
    local many = n > 0 and kn - count >= n
    local big = b > 0 and kb - size >= b
    if i > budget or not (old or many or big) then
      following = f[2]
      break
    end
    trimmed = block[1]
    kn, kb = kn - count, kb - size
    entries, bytes = entries + count, bytes + size
  end
  if not trimmed then
    return {0, 0}
  end
  if following then
    redis.call('XTRIM', KEYS[1], 'MINID', '=', following)
    redis.call('XTRIM', KEYS[3], 'MINID', '=', following)
  else
    redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
    redis.call('XTRIM', KEYS[3], 'MAXLEN', '=', 0)
  end
  redis.call('HSET', KEYS[2], 'trimmed', trimmed, 'dropped_entries', dn + entries, 'dropped_bytes', db + bytes)
  return {entries, bytes}
end`

// appendScript is compare-and-append: the chunk is written only where the stream ends where the writer left it and the writer's lease is the newest. What is
// sent again, late or out of turn, changes nothing.
// KEYS: stream, meta, blocks. ARGV: 1 epoch, 2 node, 3 prev, 4 last, 5 token, 6 first, 7 entries, 8 bytes, 9 prints, 10 checkpoint ("" keeps the stored one),
// 11-13 bounds of retention, 14 blocks to trim at most, 15 values an entry; then the entries: ID, values, in the order of the fields in 16….
const appendScript = `
local ARGV, KEYS = ARGV, KEYS
local m = redis.call('HMGET', KEYS[2], 'epoch', 'node', 'last', 'token', 'closed_reason', 'entries', 'bytes', 'owner')
if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] then
  return {'FENCED', m[1] or '0', m[2] ~= '' and m[8] or ''}
end
if m[5] then
  return {'CLOSED', m[5]}
end
local last = m[3] or '0-0'
if m[4] == ARGV[5] and last == ARGV[4] then
  return {'OK', 0, 0}
end
if last ~= ARGV[3] then
  return {'CONFLICT', last}
end
local count = tonumber(ARGV[7])
if count > 0 then
  local call, stream, values = redis.call, KEYS[1], tonumber(ARGV[15])
  local from = 16
  if values == 1 then
    for i = from, from + 2 * count - 1, 2 do
      call('XADD', stream, ARGV[i], 'json', ARGV[i + 1])
    end
  else
    local names = {}
    for i = 1, values do
      names[i] = ARGV[from + i - 1]
    end
    from = from + values
    local args = {}
    for k = 0, count - 1 do
      local at = from + k * (values + 1)
      for i = 1, values do
        args[2 * i - 1], args[2 * i] = names[i], ARGV[at + i]
      end
      call('XADD', stream, ARGV[at], unpack(args))
    end
  end
  call('XADD', KEYS[3], ARGV[4], 'f', ARGV[6], 'n', ARGV[7], 'b', ARGV[8], 'p', ARGV[9], 'e', tonumber(m[6] or 0) + count)
end
local set = {'last', ARGV[4], 'token', ARGV[5], 'entries', tonumber(m[6] or 0) + count, 'bytes', tonumber(m[7] or 0) + tonumber(ARGV[8])}
if ARGV[10] ~= '' then
  set[9], set[10] = 'checkpoint', ARGV[10]
end
redis.call('HSET', KEYS[2], unpack(set))
local budget = tonumber(ARGV[14])
if budget > 0 then
  local t = trim(tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), budget)
  return {'OK', t[1], t[2]}
end
return {'OK', 0, 0}`

var (
	scriptAppend = newScript(trimFunction, appendScript)

	// KEYS: stream, meta, blocks. ARGV: the bounds of retention, blocks at most.
	scriptTrim = newScript(trimFunction, `return trim(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))`)

	// KEYS: meta, closed. ARGV: now in microseconds, reason.
	scriptClose = newScript(`
if redis.call('HSETNX', KEYS[1], 'closed_us', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'closed_reason', ARGV[2])
  redis.call('XADD', KEYS[2], '1-0', 'at', ARGV[1], 'reason', ARGV[2])
  return 1
end
return 0`)

	// KEYS: stream, meta.
	scriptInfo = newScript(`
local m = redis.call('HMGET', KEYS[2], 'layout', 'last', 'entries', 'bytes', 'dropped_entries', 'dropped_bytes', 'trimmed', 'closed_us', 'closed_reason')
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
m[10] = oldest[1] and oldest[1][1] or false
return m`)

	// Where a cursor is. KEYS: stream, meta, blocks. ARGV: the cursor, and the first entry of the page that ends with it, "" for none. How many entries follow it is
	// what was appended after the first block that reaches beyond it, and what of that block does. The latter is -1 where the page begins before the block
	// does: who asks has the entries, and can count them. IDs are compared as numbers, of which all that are derived from a time are exact.
	scriptPlace = newScript(`
local function before(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams < bms or ams == bms and aseq < bseq
end
local m = redis.call('HMGET', KEYS[2], 'last', 'trimmed', 'closed_us', 'closed_reason', 'entries')
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
m[6] = oldest[1] and oldest[1][1] or false
local from = '(' .. ARGV[1]
if ARGV[1] == '18446744073709551615-18446744073709551615' then
  return m
end
local block = redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', 1)[1]
if not block then
  return m
end
local b = {}
for i = 1, #block[2], 2 do
  b[block[2][i]] = block[2][i + 1]
end
m[7], m[8], m[9], m[10] = tonumber(m[5]) - tonumber(b.e), tonumber(b.n), b.f, block[1]
if before(ARGV[1], b.f) then
  m[11] = m[8]
elseif ARGV[2] ~= '' and not before(b.f, ARGV[2]) then
  m[11] = -1
else
  m[11] = #redis.call('XRANGE', KEYS[1], from, block[1])
end
return m`)

	// KEYS: meta, lease. ARGV: node, name, ttl in ms, layout.
	scriptAcquire = newScript(`
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then
  local m = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
  return {0, tonumber(m[1] or 0), m[2] or '', redis.call('PTTL', KEYS[2]), held}
end
redis.call('HSETNX', KEYS[1], 'layout', ARGV[4])
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'owner', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return {1, epoch}`)

	// KEYS: meta, lease. ARGV: node, epoch, ttl in ms. A lease that ran out and that nobody took since may go on.
	scriptRenew = newScript(`
local m = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'owner')
if m[1] ~= ARGV[2] or m[2] ~= ARGV[1] then
  return {0, tonumber(m[1] or 0), m[2] ~= '' and m[3] or ''}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return {1}`)

	// KEYS: meta, lease. ARGV: node, epoch.
	scriptRelease = newScript(`
local m = redis.call('HMGET', KEYS[1], 'epoch', 'node')
if m[1] == ARGV[2] and m[2] == ARGV[1] then
  redis.call('HSET', KEYS[1], 'node', '')
  redis.call('DEL', KEYS[2])
end
return 1`)

	// KEYS: nodes, until. ARGV: id, JSON, ttl in ms.
	scriptAnnounce = newScript(`
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[3], ARGV[1])
return 1`)

	// KEYS: nodes, until. Those whose time is over go off the list.
	scriptNodes = newScript(`
local t = redis.call('TIME')
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', t[1] * 1000 + math.floor(t[2] / 1000))
for _, id in ipairs(over) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return redis.call('HVALS', KEYS[1])`)

	// KEYS: consumers. ARGV: name.
	scriptGetConsumer = newScript(`
local t = redis.call('TIME')
t[3] = redis.call('HGET', KEYS[1], ARGV[1])
return t`)

	// KEYS: consumers. ARGV: name, the value it must have ("" for none), the new one ("" deletes), how many there may be.
	scriptConsumer = newScript(`
local had = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if had ~= ARGV[2] then
  return 'CHANGED'
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif had == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 'FULL'
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 'OK'`)
)

// run runs a script of many callers' and gives its answer. A server that does not know it yet is told.
func (v *Valkey) run(ctx context.Context, s *script, keys []string, args ...string) (valkey.ValkeyMessage, error) {
	limited, release, err := v.use(ctx)
	if err != nil {
		return valkey.ValkeyMessage{}, err
	}
	defer release()
	client, err := v.commands.get()
	if err != nil {
		return valkey.ValkeyMessage{}, v.failure(ctx, err)
	}
	m, err := client.Do(limited, client.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).ToMessage()
	if isNoScript(err) {
		m, err = client.Do(limited, client.B().Eval().Script(s.source).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()).ToMessage()
	}
	if err != nil && !valkey.IsValkeyNil(err) {
		return valkey.ValkeyMessage{}, v.failure(ctx, err)
	}
	return m, nil
}

func isNoScript(err error) bool {
	e, ok := valkey.IsValkeyErr(err)
	return ok && e.IsNoScript()
}
