package valkeysim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of values, beside *stream.
type (
	text struct {
		value string
		until time.Time // zero for ever
	}
	hash    map[string]string
	members map[string]float64 // of a set, whose scores are 0, and of a sorted set
)

// command is a command: how many arguments it has at least, with its name, what it needs, and what it
// does.
type command struct {
	args          int
	writes, grows bool
	do            func(*call) (any, failure)
}

// call is one run of a command.
type call struct {
	*Server
	args []string
}

var commands map[string]command

func init() {
	read := func(args int, do func(*call) (any, failure)) command { return command{args: args, do: do} }
	write := func(args int, do func(*call) (any, failure)) command {
		return command{args: args, writes: true, do: do}
	}
	grow := func(args int, do func(*call) (any, failure)) command {
		return command{args: args, writes: true, grows: true, do: do}
	}
	commands = map[string]command{
		"HELLO":  read(1, (*call).hello),
		"CLIENT": read(2, func(*call) (any, failure) { return status("OK"), "" }),
		"PING":   read(1, func(*call) (any, failure) { return status("PONG"), "" }),
		"INFO":   read(1, (*call).info),
		"TIME":   read(1, (*call).time),
		"WAIT":   read(3, func(*call) (any, failure) { return int64(0), "" }),

		"GET": read(2, (*call).get), "SET": grow(3, (*call).set), "DEL": write(2, (*call).del), "UNLINK": write(2, (*call).del), "PTTL": read(2, (*call).pttl),
		"HGET": read(3, (*call).hget), "HMGET": read(3, (*call).hmget), "HVALS": read(2, (*call).hvals), "HLEN": read(2, (*call).hlen),
		"HSET": grow(4, (*call).hset), "HDEL": write(3, (*call).hdel), "HINCRBY": grow(4, (*call).hincrby),
		"SADD": grow(3, (*call).sadd), "SREM": write(3, (*call).remove), "SISMEMBER": read(3, (*call).sismember), "SMEMBERS": read(2, (*call).smembers),
		"ZADD": grow(4, (*call).zadd), "ZREM": write(3, (*call).remove), "ZRANGEBYSCORE": read(4, (*call).zrangebyscore),

		"XADD": grow(5, (*call).xadd), "XRANGE": read(4, (*call).xrange), "XREVRANGE": read(4, (*call).xrevrange),
		"XTRIM": write(4, (*call).xtrim), "XINFO": read(3, (*call).xinfo),
	}
}

const errWrongType failure = "WRONGTYPE Operation against a key holding the wrong kind of value"

// valueOf returns the value of a key, the zero T if there is none.
func valueOf[T any](c *call, key string) (value T, err failure) {
	v := c.data[key]
	if t, ok := v.(*text); ok && !t.until.IsZero() && !time.Now().Before(t.until) {
		delete(c.data, key)
		v = nil
	}
	if v == nil {
		return value, ""
	}
	value, ok := v.(T)
	if !ok {
		return value, errWrongType
	}
	return value, ""
}

func (c *call) hello() (any, failure) {
	return pairs{"server", "valkey", "version", "8.0.1", "proto", int64(3), "id", int64(1), "mode", "standalone", "role", "master", "modules", []any{}}, ""
}

func (c *call) info() (any, failure) {
	role, loading := "master", 0
	if c.faults.Replica {
		role = "slave"
	}
	if c.faults.Loading {
		loading = 1
	}
	return fmt.Sprintf("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nserver_mode:standalone\r\nrole:%s\r\nloading:%d\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:0\r\n",
		role, loading), ""
}

func (c *call) time() (any, failure) {
	us := time.Now().UnixMicro()
	return []any{strconv.FormatInt(us/1e6, 10), strconv.FormatInt(us%1e6, 10)}, ""
}

func (c *call) get() (any, failure) {
	v, err := valueOf[*text](c, c.args[1])
	if v == nil {
		return nil, err
	}
	return v.value, ""
}

func (c *call) set() (any, failure) {
	v := &text{value: c.args[2]}
	if len(c.args) == 5 && strings.EqualFold(c.args[3], "PX") {
		ms, err := strconv.ParseInt(c.args[4], 10, 64)
		if err != nil || ms <= 0 {
			return nil, "ERR invalid expire time in 'set' command"
		}
		v.until = time.Now().Add(time.Duration(ms) * time.Millisecond)
	} else if len(c.args) != 3 {
		return nil, "ERR syntax error"
	}
	c.data[c.args[1]] = v
	return status("OK"), ""
}

func (c *call) del() (any, failure) {
	n := int64(0)
	for _, key := range c.args[1:] {
		if c.data[key] != nil {
			n++
		}
		delete(c.data, key)
	}
	return n, ""
}

func (c *call) pttl() (any, failure) {
	_, _ = valueOf[*text](c, c.args[1])
	switch v := c.data[c.args[1]].(type) {
	case nil:
		return int64(-2), ""
	case *text:
		if !v.until.IsZero() {
			return time.Until(v.until).Milliseconds(), ""
		}
	}
	return int64(-1), ""
}

func (c *call) hget() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	if value, ok := h[c.args[2]]; ok {
		return value, err
	}
	return nil, err
}

func (c *call) hmget() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	all := make([]any, len(c.args)-2)
	for i, name := range c.args[2:] {
		if value, ok := h[name]; ok {
			all[i] = value
		}
	}
	return all, err
}

func (c *call) hvals() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	all := []any{}
	for _, name := range sorted(h) {
		all = append(all, h[name])
	}
	return all, err
}

func (c *call) hlen() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	return int64(len(h)), err
}

func (c *call) hset() (any, failure) {
	if len(c.args)%2 != 0 {
		return nil, "ERR wrong number of arguments for 'hset' command"
	}
	h, err := valueOf[hash](c, c.args[1])
	if err != "" {
		return nil, err
	}
	if h == nil {
		h = hash{}
		c.data[c.args[1]] = h
	}
	before := len(h)
	for i := 2; i < len(c.args); i += 2 {
		h[c.args[i]] = c.args[i+1]
	}
	return int64(len(h) - before), ""
}

func (c *call) hdel() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	before := len(h)
	for _, name := range c.args[2:] {
		delete(h, name)
	}
	if len(h) == 0 && h != nil {
		delete(c.data, c.args[1])
	}
	return int64(before - len(h)), err
}

func (c *call) hincrby() (any, failure) {
	h, err := valueOf[hash](c, c.args[1])
	if err != "" {
		return nil, err
	}
	by, wrong := strconv.ParseInt(c.args[3], 10, 64)
	if wrong != nil {
		return nil, "ERR value is not an integer or out of range"
	}
	if h == nil {
		h = hash{}
		c.data[c.args[1]] = h
	}
	before := int64(0)
	if text, ok := h[c.args[2]]; ok {
		if before, wrong = strconv.ParseInt(text, 10, 64); wrong != nil {
			return nil, "ERR hash value is not an integer"
		}
	}
	h[c.args[2]] = strconv.FormatInt(before+by, 10)
	return before + by, ""
}

// add adds members with scores to a set.
func (c *call) add(scored map[string]float64) (any, failure) {
	m, err := valueOf[members](c, c.args[1])
	if err != "" {
		return nil, err
	}
	if m == nil {
		m = members{}
		c.data[c.args[1]] = m
	}
	before := len(m)
	for name, score := range scored {
		m[name] = score
	}
	return int64(len(m) - before), ""
}

func (c *call) sadd() (any, failure) {
	scored := map[string]float64{}
	for _, name := range c.args[2:] {
		scored[name] = 0
	}
	return c.add(scored)
}

func (c *call) sismember() (any, failure) {
	m, err := valueOf[members](c, c.args[1])
	if _, ok := m[c.args[2]]; ok {
		return int64(1), err
	}
	return int64(0), err
}

func (c *call) smembers() (any, failure) {
	m, err := valueOf[members](c, c.args[1])
	all := set{}
	for _, name := range sorted(m) {
		all = append(all, name)
	}
	return all, err
}

func (c *call) zadd() (any, failure) {
	scored := map[string]float64{}
	for i := 2; i+1 < len(c.args); i += 2 {
		score, err := strconv.ParseFloat(c.args[i], 64)
		if err != nil {
			return nil, "ERR value is not a valid float"
		}
		scored[c.args[i+1]] = score
	}
	return c.add(scored)
}

func (c *call) remove() (any, failure) {
	m, err := valueOf[members](c, c.args[1])
	before := len(m)
	for _, name := range c.args[2:] {
		delete(m, name)
	}
	if len(m) == 0 && m != nil {
		delete(c.data, c.args[1])
	}
	return int64(before - len(m)), err
}

func (c *call) zrangebyscore() (any, failure) {
	low, errLow := score(c.args[2])
	high, errHigh := score(c.args[3])
	if errLow != nil || errHigh != nil {
		return nil, "ERR min or max is not a float"
	}
	m, err := valueOf[members](c, c.args[1])
	all := []any{}
	names := sorted(m)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(m[a], m[b]) })
	for _, name := range names {
		if m[name] >= low && m[name] <= high {
			all = append(all, name)
		}
	}
	return all, err
}

func score(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
