package valkeysim

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tempestd/messages"
)

// stream is a native stream.
type stream struct {
	entries []entry
	last    messages.EntryID // the newest ID ever given
	added   int64            // entries ever added
}

// entry is an entry of a stream: names and values in turn. Nothing changes it.
type entry struct {
	id     messages.EntryID
	fields []any
}

const errBadID failure = "ERR Invalid stream ID specified as stream command argument"

// parseID reads "<ms>-<seq>" or "<ms>", whose sequence number is then seq.
func parseID(s string, seq uint64) (id messages.EntryID, err error) {
	ms, rest, full := strings.Cut(s, "-")
	if id.MS, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return id, err
	}
	id.Seq = seq
	if full {
		id.Seq, err = strconv.ParseUint(rest, 10, 64)
	}
	return id, err
}

// bound reads the bound of a range. seq completes an ID without a sequence number. step is the
// neighbour that an exclusive bound stands for.
func bound(s string, seq uint64, step func(messages.EntryID) messages.EntryID) (messages.EntryID, error) {
	switch s {
	case "-":
		return messages.EntryID{}, nil
	case "+":
		return messages.MaxEntryID, nil
	}
	rest, exclusive := strings.CutPrefix(s, "(")
	id, err := parseID(rest, seq)
	if err == nil && exclusive {
		if next := step(id); next != id {
			return next, nil
		}
		err = errors.New("there is no such ID")
	}
	return id, err
}

// from returns the index of the first entry that is not before id.
func (s *stream) from(id messages.EntryID) int {
	if s == nil {
		return 0
	}
	i, _ := slices.BinarySearchFunc(s.entries, id, func(e entry, id messages.EntryID) int { return e.id.Compare(id) })
	return i
}

func (s *stream) all() []entry {
	if s == nil {
		return nil
	}
	return s.entries
}

func (e entry) reply() any { return []any{e.id.String(), e.fields} }

func (c *call) xadd() (any, failure) {
	rest := c.args[2:]
	create := !strings.EqualFold(rest[0], "NOMKSTREAM")
	if !create {
		rest = rest[1:]
	}
	if len(rest) < 3 || len(rest)%2 == 0 {
		return nil, "ERR wrong number of arguments for 'xadd' command"
	}
	s, err := valueOf[*stream](c, c.args[1])
	if err != "" {
		return nil, err
	}
	if s == nil {
		if !create {
			return nil, ""
		}
		s = new(stream)
	}
	id := messages.EntryID{MS: uint64(time.Now().UnixMilli())}
	if rest[0] == "*" {
		if id.Compare(s.last) <= 0 {
			id = s.last.Next()
		}
	} else {
		var bad error
		if id, bad = parseID(rest[0], 0); bad != nil {
			return nil, errBadID
		}
		switch {
		case id.IsZero():
			return nil, "ERR The ID specified in XADD must be greater than 0-0"
		case s.last == messages.MaxEntryID:
			return nil, "ERR The stream has exhausted the last possible ID, unable to add more items"
		case id.Compare(s.last) <= 0:
			return nil, "ERR The ID specified in XADD is equal or smaller than the target stream top item"
		}
	}
	fields := make([]any, len(rest)-1)
	for i, f := range rest[1:] {
		fields[i] = f
	}
	s.entries = append(s.entries, entry{id, fields})
	s.last = id
	s.added++
	c.data[c.args[1]] = s
	if c.onAdd != nil {
		c.onAdd(c.args[1], id, fields)
	}
	close(c.Server.added)
	c.Server.added = make(chan struct{})
	return id.String(), ""
}

// count reads the option COUNT at the end of a command.
func (c *call) count(at int) (int, failure) {
	if len(c.args) == at {
		return math.MaxInt, ""
	}
	if len(c.args) != at+2 || !strings.EqualFold(c.args[at], "COUNT") {
		return 0, "ERR syntax error"
	}
	n, err := strconv.Atoi(c.args[at+1])
	if err != nil {
		return 0, "ERR value is not an integer or out of range"
	}
	return n, ""
}

// within returns the entries between two bounds.
func (c *call) within(low, high string) ([]entry, failure) {
	from, errFrom := bound(low, 0, messages.EntryID.Next)
	to, errTo := bound(high, math.MaxUint64, messages.EntryID.Prev)
	if errFrom != nil || errTo != nil {
		return nil, errBadID
	}
	s, err := valueOf[*stream](c, c.args[1])
	all := s.all()
	end := len(all)
	if to != messages.MaxEntryID {
		end = s.from(to.Next())
	}
	return all[min(s.from(from), end):end], err
}

func (c *call) xrange() (any, failure) {
	count, err := c.count(4)
	if err != "" {
		return nil, err
	}
	entries, err := c.within(c.args[2], c.args[3])
	replies := []any{}
	for _, e := range entries[:min(len(entries), max(count, 0))] {
		replies = append(replies, e.reply())
	}
	return replies, err
}

func (c *call) xrevrange() (any, failure) {
	count, err := c.count(4)
	if err != "" {
		return nil, err
	}
	entries, err := c.within(c.args[3], c.args[2])
	replies := []any{}
	for _, e := range slices.Backward(entries) {
		if len(replies) >= count {
			break
		}
		replies = append(replies, e.reply())
	}
	return replies, err
}

// xtrim knows the exact forms alone: XTRIM key MINID = id, XTRIM key MAXLEN = n.
func (c *call) xtrim() (any, failure) {
	rest := c.args[3:]
	if rest[0] == "=" {
		rest = rest[1:]
	}
	if len(rest) != 1 {
		return nil, "ERR syntax error"
	}
	s, err := valueOf[*stream](c, c.args[1])
	if s == nil {
		return int64(0), err
	}
	n := 0
	switch strings.ToUpper(c.args[2]) {
	case "MINID":
		id, bad := parseID(rest[0], 0)
		if bad != nil {
			return nil, errBadID
		}
		n = s.from(id)
	case "MAXLEN":
		most, bad := strconv.Atoi(rest[0])
		if bad != nil || most < 0 {
			return nil, "ERR The MAXLEN argument must be >= 0."
		}
		n = max(len(s.entries)-most, 0)
	default:
		return nil, "ERR syntax error"
	}
	s.entries = slices.Clone(s.entries[n:]) // the old entries are not kept in memory
	return int64(n), ""
}

func (c *call) xinfo() (any, failure) {
	s, err := valueOf[*stream](c, c.args[2])
	if s == nil && err == "" {
		err = "ERR no such key"
	}
	if err != "" {
		return nil, err
	}
	return pairs{"length", int64(len(s.entries)), "last-generated-id", s.last.String(), "entries-added", s.added, "groups", int64(0)}, ""
}

// xread is XREAD COUNT n BLOCK ms STREAMS key… id….
type xread struct {
	count int
	block time.Duration // negative for no wait; 0 for ever
	keys  []string
	ids   []messages.EntryID
}

func parseRead(args []string) (x xread, err failure) {
	x.count, x.block = math.MaxInt, -1
	for i := 1; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "COUNT", "BLOCK":
			if i+1 == len(args) {
				return x, "ERR syntax error"
			}
			n, bad := strconv.Atoi(args[i+1])
			if bad != nil || n < 0 {
				return x, "ERR value is not an integer or out of range"
			}
			if strings.EqualFold(args[i], "COUNT") {
				x.count = n
			} else {
				x.block = time.Duration(n) * time.Millisecond
			}
			i++
		case "STREAMS":
			rest := args[i+1:]
			if len(rest) == 0 || len(rest)%2 != 0 {
				return x, "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."
			}
			x.keys = rest[:len(rest)/2]
			for _, text := range rest[len(rest)/2:] {
				id, bad := parseID(text, 0)
				if bad != nil {
					return x, errBadID
				}
				x.ids = append(x.ids, id)
			}
			return x, ""
		default:
			return x, "ERR syntax error"
		}
	}
	return x, "ERR syntax error"
}

// read runs an XREAD, which may wait.
func (s *Server) read(ctx context.Context, args []string) any {
	x, err := parseRead(args)
	if err != "" {
		return err
	}
	var over <-chan time.Time
	if x.block > 0 {
		timer := time.NewTimer(x.block)
		defer timer.Stop()
		over = timer.C
	}
	for {
		s.mu.Lock()
		if refused := s.refuses(args, false, false); refused != "" {
			s.mu.Unlock()
			return refused
		}
		found := pairs{}
		for i, key := range x.keys {
			v, err := valueOf[*stream](&call{s, args}, key)
			if err != "" {
				s.mu.Unlock()
				return err
			}
			entries := v.all()[v.from(x.ids[i].Next()):]
			replies := []any{}
			for _, e := range entries[:min(len(entries), x.count)] {
				replies = append(replies, e.reply())
			}
			if len(replies) > 0 {
				found = append(found, key, replies)
			}
		}
		added := s.added
		s.mu.Unlock()
		if len(found) > 0 {
			return found
		}
		if x.block < 0 {
			return nil
		}
		select {
		case <-added:
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
