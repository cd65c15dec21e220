package valkey

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// The scripts that run in the server. Each run is one atomic step. The fields of the meta hash of a
// stream are:
//
//	layout                          the version of this layout
//	epoch, node, owner              the newest lease: its epoch, the ID and name of its holder
//	                                (node is "" after the lease was released)
//	last, token                     the newest entry's ID, and the token of its append: a hash of
//	                                what was appended and of the token before
//	entries, bytes                  ever appended
//	dropped_entries, dropped_bytes  dropped by retention
//	trimmed                         the newest entry that retention dropped
//	checkpoint                      the checkpoint of the newest append
//	cursor                          the cursor actor's checkpoint
//	shown, shown_entries            the newest durable entry, and the entries ever appended up to
//	                                it; readers get no later ones. Missing while the owner does not
//	                                wait for durability
//	closed_us, closed_reason        set when the stream is closed

// script is a Lua script and its SHA-1, by which the server knows it.
type script struct{ source, sha string }

func newScript(parts ...string) *script {
	source := strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

// trimFunction drops whole blocks, oldest first, a bounded number per call.
//
// KEYS: stream, meta, blocks. ms, age, n and b are the bounds: the oldest millisecond to keep by
// the writer's clock, the age in milliseconds before the stream's newest entry, entries and bytes.
// 0 sets no bound. If age is set, an entry is too old only by both clocks, so one wrong clock drops
// nothing.
const trimFunction = `
local function trim(ms, age, n, b, budget)
  local m = redis.call('HMGET', KEYS[2], 'entries', 'bytes', 'dropped_entries', 'dropped_bytes', 'last')
  local dn, db = tonumber(m[3] or 0), tonumber(m[4] or 0)
  local kn, kb = tonumber(m[1] or 0) - dn, tonumber(m[2] or 0) - db
  if age > 0 then
    ms = math.min(ms, tonumber(string.match(m[5] or '0-0', '^(%d+)')) - age)
  end
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

// appendScript is compare-and-append. It writes the chunk only if the writer's lease is the newest
// and the stream ends where the writer left it, with the writer's own last token. A chunk that is
// sent again, late or out of order changes nothing.
//
// The server does not undo a script that fails halfway, and the ID of a deleted entry cannot be
// used again. So the script checks everything that can fail before it writes anything. For example,
// a user who may run XADD but not HSET would leave entries that are recorded nowhere. If another
// client has used an ID in one of the keys, the writer gets a different answer than for other
// failures.
//
// KEYS: stream, meta, blocks. ARGV: 1 epoch, 2 node, 3 last and 4 token before, 5 last and 6 token
// after, 7 first, 8 entries, 9 bytes, 10 fingerprints, 11 checkpoint ("" keeps the stored one),
// 12-15 bounds of retention, 16 blocks to trim at most, 17 values per entry. If there are several
// values per entry, the names of the fields begin at 18. Then the entries follow: ID and values, in
// the order of the fields.
const appendScript = `
local ARGV, KEYS, call = ARGV, KEYS, redis.call
local m = call('HMGET', KEYS[2], 'epoch', 'node', 'last', 'token', 'closed_reason', 'entries', 'bytes', 'owner')
if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] then
  return {'FENCED', m[1] or '0', m[2] ~= '' and m[8] or ''}
end
if m[5] then
  return {'CLOSED', m[5]}
end
local last, token = m[3] or '0-0', m[4] or ''
if token == ARGV[6] and last == ARGV[5] then
  return {'OK', 0, 0, ''}
end
if last ~= ARGV[3] or token ~= ARGV[4] then
  return {'CONFLICT', last}
end
local count = tonumber(ARGV[8])
local function foreign(key)
  local found, info = pcall(call, 'XINFO', 'STREAM', key)
  for i = 1, found and #info or 0, 2 do
    if info[i] == 'last-generated-id' then
      return {'FOREIGN', key, info[i + 1]}
    end
  end
  return {'FOREIGN', key, ''}
end
if count > 0 then
  local may = redis.acl_check_cmd
  if may and not may('XADD', KEYS[3], ARGV[5], 'f', '') then
    return redis.error_reply('NOPERM the user may not run XADD on ' .. KEYS[3])
  end
  if may and not may('HSET', KEYS[2], 'last', '') then
    return redis.error_reply('NOPERM the user may not run HSET on ' .. KEYS[2])
  end
  local newest = call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
  if newest and newest[1] ~= last then
    return foreign(KEYS[3])
  end
  local stream, values, from = KEYS[1], tonumber(ARGV[17]), 18
  local names, args = {}, {}
  if values > 1 then
    for i = 1, values do
      names[i] = ARGV[from + i - 1]
    end
    from = from + values
  end
  local function add(k)
    local at = from + k * (values + 1)
    for i = 1, values do
      args[2 * i - 1], args[2 * i] = names[i], ARGV[at + i]
    end
    call('XADD', stream, ARGV[at], unpack(args))
  end
  if values == 1 then
    add = function(k)
      local at = from + 2 * k
      call('XADD', stream, ARGV[at], 'json', ARGV[at + 1])
    end
  end
  local done, why = pcall(add, 0)
  if not done then
    why = type(why) == 'table' and why.err or tostring(why)
    if string.find(why, 'equal or smaller than the target stream top item', 1, true) or string.find(why, 'exhausted the last possible ID', 1, true) then
      return foreign(stream)
    end
    return redis.error_reply(why)
  end
  for k = 1, count - 1 do
    add(k)
  end
  call('XADD', KEYS[3], ARGV[5], 'f', ARGV[7], 'n', ARGV[8], 'b', ARGV[9], 'p', ARGV[10], 'e', tonumber(m[6] or 0) + count)
end
local set = {'last', ARGV[5], 'token', ARGV[6], 'entries', tonumber(m[6] or 0) + count, 'bytes', tonumber(m[7] or 0) + tonumber(ARGV[9])}
if ARGV[11] ~= '' then
  set[9], set[10] = 'checkpoint', ARGV[11]
end
call('HSET', KEYS[2], unpack(set))
local budget = tonumber(ARGV[16])
if budget > 0 then
  local trimmed, t = pcall(trim, tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15]), budget)
  if not trimmed then
    return {'OK', 0, 0, type(t) == 'table' and t.err or tostring(t)}
  end
  return {'OK', t[1], t[2], ''}
end
return {'OK', 0, 0, ''}`

var (
	scriptAppend = newScript(trimFunction, appendScript)

	// KEYS: stream, meta, blocks. ARGV: the four bounds of retention, largest number of blocks.
	scriptTrim = newScript(trimFunction, `return trim(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))`)

	// KEYS: meta, closed, shown. ARGV: now in microseconds, reason. No append follows that would show
	// what is stored, so it is shown.
	scriptClose = newScript(`
if redis.call('HGET', KEYS[1], 'closed_us') then
  return 0
end
if #redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1) == 0 then
  redis.call('XADD', KEYS[2], '1-0', 'at', ARGV[1], 'reason', ARGV[2])
end
redis.call('HSET', KEYS[1], 'closed_us', ARGV[1], 'closed_reason', ARGV[2])
redis.call('HDEL', KEYS[1], 'shown', 'shown_entries')
redis.call('DEL', KEYS[3])
return 1`)

	// KEYS: stream, meta. The newest entry is the one that readers see.
	scriptInfo = newScript(`
local m = redis.call('HMGET', KEYS[2], 'layout', 'last', 'entries', 'bytes', 'dropped_entries', 'dropped_bytes', 'trimmed', 'closed_us', 'closed_reason')
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
m[10] = oldest[1] and oldest[1][1] or false
m[2] = redis.call('HGET', KEYS[2], 'shown') or m[2]
return m`)

	// scriptPage finds where a page stands in the stream (pageReply). KEYS: stream, meta, blocks.
	// ARGV: the page's cursor, and its first entry, "" for none.
	//
	// The sixth value is 0 if appends added all entries that were ever added: then no entry must be
	// checked before it is shown.
	//
	// If readers see only what is durable, the stream ends there: the eighth value is 1, and the newest
	// entry and the number of entries are those of the newest durable entry.
	//
	// The number of entries after the cursor is the sum of the ninth and the twelfth value: the
	// entries appended after the first block that ends after the cursor, and the entries of that
	// block after the cursor. The twelfth is -1 if the page begins before the block does: then the
	// caller has the entries of the block and counts them.
	//
	// IDs are compared as numbers, which are exact for all IDs that are derived from a time.
	scriptPage = newScript(`
local function before(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams < bms or ams == bms and aseq < bseq
end
local m = redis.call('HMGET', KEYS[2], 'last', 'trimmed', 'closed_us', 'closed_reason', 'entries', 'shown', 'shown_entries', 'dropped_entries')
local entries = tonumber(m[5] or 0)
local shown, durable, dropped = m[6], tonumber(m[7] or 0), tonumber(m[8] or 0)
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
m[5] = oldest[1] and oldest[1][1] or false
m[6] = 1
if oldest[1] then
  local known, info = pcall(redis.call, 'XINFO', 'STREAM', KEYS[1])
  for i = 1, known and #info or 0, 2 do
    if info[i] == 'entries-added' then
      m[6] = info[i + 1] == entries and 0 or 1
    end
  end
end
if shown then
  entries = durable
  if m[2] and before(shown, m[2]) then
    shown, entries = m[2], dropped
  end
  m[1] = shown
  if m[5] and before(shown, m[5]) then
    m[5] = false
  end
end
m[7], m[8] = entries, shown and 1 or 0
local from = '(' .. ARGV[1]
if ARGV[1] == '18446744073709551615-18446744073709551615' then
  return m
end
local block = redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', 1)[1]
if not block or shown and before(shown, block[1]) then
  return m
end
local b = {}
for i = 1, #block[2], 2 do
  b[block[2][i]] = block[2][i + 1]
end
m[9], m[10], m[11] = entries - tonumber(b.e), tonumber(b.n), b.f
if before(ARGV[1], b.f) then
  m[12] = m[10]
elseif ARGV[2] ~= '' and not before(b.f, ARGV[2]) then
  m[12] = -1
else
  m[12] = #redis.call('XRANGE', KEYS[1], from, block[1])
end
return m`)

	// KEYS: meta, lease. ARGV: node, name, ttl in ms, layout.
	scriptAcquire = newScript(`
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then
  local m = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
  return {0, tonumber(m[1] or 0), held, m[2] or '', redis.call('PTTL', KEYS[2])}
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'layout', redis.call('HGET', KEYS[1], 'layout') or ARGV[4], 'node', ARGV[1], 'owner', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return {1, epoch, ARGV[1], ARGV[2], 0}`)

	// KEYS: meta, lease. ARGV: node, epoch, ttl in ms. An expired lease can be renewed if no other
	// node has taken it.
	scriptRenew = newScript(`
local m = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'owner')
if m[1] ~= ARGV[2] or m[2] ~= ARGV[1] then
  return {0, tonumber(m[1] or 0), m[2] ~= '' and m[3] or ''}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return {1, tonumber(m[1]), m[3] or ''}`)

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

	// KEYS: nodes, until. Nodes whose time is over are removed from the list.
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
t[3] = redis.call('HGET', KEYS[1], ARGV[1]) or ''
return t`)

	// KEYS: consumers. ARGV: name, the value it must have ("" for none), the new value (""
	// deletes), the largest number of consumers.
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

	// scriptSaveGaps changes rows of the ledger of gaps. KEYS: meta, gaps. ARGV: epoch, node, and
	// then ID, version and JSON of each row. A row replaces one with a smaller version. A row whose
	// JSON is "" removes the one with the same version.
	scriptSaveGaps = newScript(`
local m = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'owner')
if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] then
  return {'FENCED', m[1] or '0', m[2] ~= '' and m[3] or ''}
end
for i = 3, #ARGV, 3 do
  local had = redis.call('HGET', KEYS[2], ARGV[i])
  local version = had and string.match(had, '^(%d+) ')
  if ARGV[i + 2] == '' then
    if version == ARGV[i + 1] then
      redis.call('HDEL', KEYS[2], ARGV[i])
    end
  elseif not version or tonumber(version) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
end
return {'OK', redis.call('HLEN', KEYS[2])}`)

	// scriptGaps returns the checkpoint and the rows of the ledger at one moment. KEYS: meta, gaps.
	scriptGaps = newScript(`
local rows = redis.call('HVALS', KEYS[2])
table.insert(rows, 1, redis.call('HGET', KEYS[1], 'checkpoint') or '')
return rows`)
)
