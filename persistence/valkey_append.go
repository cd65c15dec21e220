package persistence

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

const (
	// chunkEntries is how many entries one script appends. The server does nothing else meanwhile: some 1.5 ms.
	chunkEntries = 256
	// chunkBytes ends a chunk early.
	chunkBytes = 4 << 20
	// inFlight is how many chunks are sent before the first is answered.
	inFlight = 16
	// chunkTrims is how many blocks one append drops at most, trimEvery how often it looks whether there are any.
	chunkTrims = 8
	trimEvery  = time.Second
)

// valkeyChunk is what one script appends: a block of the stream.
type valkeyChunk struct {
	from, to int // of the batch's kept events
	last     EntryID
	args     []string
}

// pending is an append on its way: the batch cut into chunks, all of them under the batch's token. They are made once, so that what is sent again
// is what was sent before.
type pending struct {
	batch  *messages.Batch
	prev   EntryID
	token  string
	chunks []valkeyChunk
	done   Appended
	landed int           // chunks known to stand in the stream
	memory *appendMemory // what the chunks are made of
}

// appendMemory is what an append's arguments are made of. It serves the next one too once every chunk was answered; after any other outcome the
// connection may still be about to send it, and it is left alone.
type appendMemory struct {
	text   []byte // the events' JSON
	ids    []byte // the IDs as text
	prints []byte
	idAt   []string // the IDs, in ids
	args   []string // all chunks' arguments
}

// keepMemory is how much of it an append of a small part of that may keep.
const keepMemory = 1 << 20

// reset makes it ready for the next append, of bytes of JSON.
func (m *appendMemory) reset(bytes int) {
	if cap(m.text) > keepMemory && bytes < cap(m.text)/16 {
		*m = appendMemory{}
	}
	clear(m.args)
	m.text, m.ids, m.prints, m.idAt, m.args = m.text[:0], m.ids[:0], m.prints[:0], m.idAt[:0], m.args[:0]
}

// Append implements Stream. The batch goes in chunks, each one atomic step, the last one with the checkpoint: what an append that was cut short left stands
// behind the checkpoint, where a resume finds it. Chunks follow one another without waiting; one that does not find the stream as the one before it
// leaves it changes nothing, so there are no holes.
func (s *valkeyStream) Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.lease.IsZero() {
		return Appended{}, fmt.Errorf("stream %s was opened without a lease: it can only be read", s.name)
	}
	p := s.doubt
	switch {
	case p == nil:
		if err := s.find(ctx); err != nil {
			return Appended{}, err
		}
		var err error
		if p, err = s.cut(batch, cp); err != nil {
			return Appended{}, err
		}
		s.doubt = p
	case p.batch != batch:
		return Appended{}, fmt.Errorf("stream %s: another batch is given while it is unknown whether the last one landed", s.name)
	default:
		if err := s.ask(ctx, p); err != nil {
			return Appended{}, s.settled(err)
		}
	}
	if err := s.send(ctx, p); err != nil {
		p.memory = nil
		return Appended{}, s.settled(err)
	}
	s.doubt, s.memory = nil, p.memory
	s.last = p.chunks[len(p.chunks)-1].last
	return p.done, nil
}

// settled forgets the append after an error that decides it.
func (s *valkeyStream) settled(err error) error {
	if _, away := errors.AsType[*UnavailableError](err); !away && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		s.doubt, s.known = nil, false
	}
	return err
}

// find learns where the stream ends, once.
func (s *valkeyStream) find(ctx context.Context) error {
	if s.known {
		return nil
	}
	if err := s.store.list(ctx, s.name); err != nil {
		return err
	}
	info, err := s.store.run(ctx, scriptInfo, []string{s.keys.stream, s.keys.meta})
	if err != nil {
		return err
	}
	f := stringsOf(info)
	if f[0] != valkeyLayout {
		return fmt.Errorf("stream %s has layout version %.20q; this version writes %q", s.name, f[0], valkeyLayout)
	}
	s.last = EntryID{}
	if id := entryID(f[1]); id != nil {
		s.last = *id
	}
	s.known = true
	return nil
}

// cut prepares the chunks. The events are copied, for the connection may hold on to them longer than the caller does.
func (s *valkeyStream) cut(batch *messages.Batch, cp messages.Checkpoint) (*pending, error) {
	mem := s.memory
	s.memory = nil
	if mem == nil {
		mem = new(appendMemory)
	}
	mem.reset(len(batch.Buf))
	last := s.deriveIDs(batch, mem)
	cp.LastID = last
	checkpoint, err := json.Marshal(cp)
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint: %w", err)
	}
	p := &pending{batch: batch, prev: s.last, token: fmt.Sprintf("%d-%d", s.lease.Epoch, s.store.appends.Add(1)), memory: mem}
	if len(s.ids) > 0 {
		p.done.First, p.done.Last, p.done.Entries = s.ids[0], last, len(s.ids)
	}
	trim := 0
	if now := s.store.clock.Now(); s.retention != (Retention{}) && !now.Before(s.trimAt) {
		trim, s.trimAt = chunkTrims, now.Add(trimEvery)
	}
	// The texts of the arguments point into what does not move any more.
	mem.text = append(mem.text, batch.Buf...)
	text := unsafe.String(unsafe.SliceData(mem.text), len(mem.text))
	mem.prints = slices.Grow(mem.prints, 8*len(s.ids))
	fields := len(s.store.opt.Fields)
	chunks := len(s.ids)/chunkEntries + 1 + len(batch.Buf)/chunkBytes
	mem.args = slices.Grow(mem.args, chunks*(argEntries+1+fields)+len(s.ids)*(2+fields))
	ms, n, b := s.bounds(s.retention)
	head := [argEntries]string{strconv.FormatUint(s.lease.Epoch, 10), s.lease.Node, argToken: p.token, argBounds: ms, n, b, "0", strconv.Itoa(1 + fields)}

	for prev, at, k := s.last, 0, 0; ; {
		c := valkeyChunk{from: k, last: prev}
		size, args, prints := 0, len(mem.args), len(mem.prints)
		mem.args = append(mem.args, head[:]...)
		if fields > 0 {
			mem.args = append(append(mem.args, "json"), s.store.opt.Fields...)
		}
		for ; at < len(batch.Events) && k-c.from < chunkEntries && size < chunkBytes; at++ {
			e := &batch.Events[at]
			if e.Drop {
				continue
			}
			mem.args = append(mem.args, mem.idAt[k])
			mem.args = s.appendValues(mem.args, e, text[e.Off:e.Off+e.Len])
			mem.prints = binary.LittleEndian.AppendUint64(mem.prints, e.Fingerprint)
			size += int(e.Len)
			c.last = s.ids[k]
			k++
		}
		c.to = k
		c.args = mem.args[args:len(mem.args):len(mem.args)]
		c.args[argPrev], c.args[argLast] = prev.String(), c.last.String()
		if c.to > c.from {
			c.args[argFirst] = mem.idAt[c.from]
		}
		c.args[argCount], c.args[argBytes] = strconv.Itoa(c.to-c.from), strconv.Itoa(size)
		c.args[argPrints] = unsafe.String(unsafe.SliceData(mem.prints[prints:]), len(mem.prints)-prints)
		p.done.Bytes += size
		if c.to > c.from {
			p.done.Blocks = append(p.done.Blocks, AppendedBlock{Last: c.last, Entries: c.to - c.from})
		}
		p.chunks = append(p.chunks, c)
		prev = c.last
		if k == len(s.ids) {
			c.args[argCheckpoint] = string(checkpoint)
			c.args[argTrim] = strconv.Itoa(trim)
			return p, nil
		}
	}
}

// Places in the arguments of the append script, behind the keys.
const (
	argPrev       = 2
	argLast       = 3
	argToken      = 4
	argFirst      = 5
	argCount      = 6
	argBytes      = 7
	argPrints     = 8
	argCheckpoint = 9
	argBounds     = 10 // three
	argTrim       = 13
	argEntries    = 15 // and following
)

// deriveIDs gives the events that are kept their IDs, in s.ids and as text, and gives the last one.
func (s *valkeyStream) deriveIDs(batch *messages.Batch, mem *appendMemory) EntryID {
	s.ids = s.ids[:0]
	last := s.last
	for i := range batch.Events {
		if e := &batch.Events[i]; !e.Drop {
			last = messages.DeriveID(e.TimeUS, last)
			s.ids = append(s.ids, last)
		}
	}
	mem.ids = slices.Grow(mem.ids, 41*len(s.ids)) // two numbers of 20 digits and a dash
	mem.idAt = slices.Grow(mem.idAt, len(s.ids))
	for _, id := range s.ids {
		start := len(mem.ids)
		mem.ids, _ = id.AppendText(mem.ids)
		mem.idAt = append(mem.idAt, unsafe.String(unsafe.SliceData(mem.ids[start:]), len(mem.ids)-start))
	}
	return last
}

// appendValues appends an entry's values: its JSON and the fields that were asked for.
func (s *valkeyStream) appendValues(to []string, e *messages.Event, event string) []string {
	to = append(to, event)
	if len(s.store.opt.Fields) == 0 {
		return to
	}
	var did, collection []byte
	if s.store.opt.Describe != nil {
		did, collection = s.store.opt.Describe(unsafe.Slice(unsafe.StringData(event), len(event)))
	}
	for _, f := range s.store.opt.Fields {
		switch f {
		case "did":
			to = append(to, unsafe.String(unsafe.SliceData(did), len(did)))
		case "collection":
			to = append(to, unsafe.String(unsafe.SliceData(collection), len(collection)))
		case "kind":
			to = append(to, e.Kind.String())
		case "time_us":
			to = append(to, strconv.FormatInt(e.TimeUS, 10))
		}
	}
	return to
}

// ask finds out how much of an append landed: the newest entry is the last one of one of its chunks, or what was there before them. A chunk that is still
// on its way finds the stream changed and does nothing.
func (s *valkeyStream) ask(ctx context.Context, p *pending) error {
	m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Hmget().Key(s.keys.meta).Field("last", "token").Build()
	})
	if err != nil {
		return err
	}
	f := stringsOf(m)
	var found EntryID
	if id := entryID(f[0]); id != nil {
		found = *id
	}
	p.landed = 0
	if f[1] == p.token {
		for i := range p.chunks {
			if p.chunks[i].last == found {
				p.landed = i + 1
				return nil
			}
		}
	} else if found == p.prev {
		return nil
	}
	return &ConflictError{Stream: s.name, Expected: p.prev, Found: found}
}

// attempts is how often chunks that were answered "not in turn" are sent again, after asking; a redirected connection may deliver them so.
const attempts = 3

// send sends the chunks that have not landed.
func (s *valkeyStream) send(ctx context.Context, p *pending) error {
	for try := 1; p.landed < len(p.chunks); try++ {
		err := s.sendChunks(ctx, p)
		if err == nil {
			continue
		}
		if _, moved := errors.AsType[*ConflictError](err); !moved || try == attempts {
			return err
		}
		if err := s.ask(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// sendChunks sends the next chunks together and looks at the answers in turn.
func (s *valkeyStream) sendChunks(ctx context.Context, p *pending) error {
	limited, release, err := s.store.use(ctx)
	if err != nil {
		return err
	}
	defer release()
	client, err := s.conn.get()
	if err != nil {
		return s.store.failure(ctx, err)
	}
	chunks := p.chunks[p.landed:min(len(p.chunks), p.landed+inFlight)]
	commands := make([]valkey.Completed, 0, inFlight)
	for i := range chunks {
		commands = append(commands, s.appendCommand(client, &chunks[i], false))
	}
	answers := client.DoMulti(limited, commands...)
	for i := range answers {
		m, err := answers[i].ToMessage()
		if isNoScript(err) {
			// Those behind it were not run either. The one that carries the script brings it to the server.
			m, err = client.Do(limited, s.appendCommand(client, &chunks[i], true)).ToMessage()
			if err == nil {
				if err = s.verdict(p, &chunks[i], m); err == nil {
					p.landed++
				}
				return err
			}
		}
		if err != nil {
			// What was sent on this connection may still arrive; nothing more is to go that way.
			s.conn.reset()
			return s.store.failure(ctx, err)
		}
		if err := s.verdict(p, &chunks[i], m); err != nil {
			return err
		}
		p.landed++
	}
	return nil
}

func (s *valkeyStream) appendCommand(client valkey.Client, c *valkeyChunk, whole bool) valkey.Completed {
	keys := []string{s.keys.stream, s.keys.meta, s.keys.blocks}
	if whole {
		return client.B().Eval().Script(scriptAppend.source).Numkeys(3).Key(keys...).Arg(c.args...).Build()
	}
	return client.B().Evalsha().Sha1(scriptAppend.sha).Numkeys(3).Key(keys...).Arg(c.args...).Build()
}

// verdict is what the script said of a chunk.
func (s *valkeyStream) verdict(p *pending, c *valkeyChunk, m valkey.ValkeyMessage) error {
	f := stringsOf(m)
	switch f[0] {
	case "OK":
		if n, b := number(f[1]), number(f[2]); n > 0 {
			s.store.emit(StreamTrimmed{s.name, Trimmed{Entries: n, Bytes: b}})
			s.trimAt = s.store.clock.Now() // there may be more
		}
		return nil
	case "FENCED":
		return &FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: uint64(number(f[1])), Owner: f[2]}
	case "CLOSED":
		return errClosed(s.name, f[1])
	case "CONFLICT":
		e := &ConflictError{Stream: s.name, Expected: p.prev}
		if c.from > 0 {
			e.Expected = s.ids[c.from-1]
		}
		if id := entryID(f[1]); id != nil {
			e.Found = *id
		}
		return e
	}
	return fmt.Errorf("stream %s: the append script answered %.80q", s.name, f[0])
}
