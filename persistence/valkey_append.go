package persistence

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
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
	landed int // chunks known to stand in the stream
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
		return Appended{}, s.settled(err)
	}
	s.doubt = nil
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

// cut prepares the chunks. The events are copied once, for the connection may hold on to them longer than the caller does.
func (s *valkeyStream) cut(batch *messages.Batch, cp messages.Checkpoint) (*pending, error) {
	s.ids = s.ids[:0]
	last := s.last
	for i := range batch.Events {
		if e := &batch.Events[i]; !e.Drop {
			last = messages.DeriveID(e.TimeUS, last)
			s.ids = append(s.ids, last)
		}
	}
	cp.LastID = last
	checkpoint, err := json.Marshal(cp)
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint: %w", err)
	}
	p := &pending{batch: batch, prev: s.last, token: fmt.Sprintf("%d-%d", s.lease.Epoch, s.store.appends.Add(1))}
	if len(s.ids) > 0 {
		p.done.First, p.done.Last, p.done.Entries = s.ids[0], last, len(s.ids)
	}
	trim := 0
	if now := s.store.clock.Now(); s.retention != (Retention{}) && !now.Before(s.trimAt) {
		trim, s.trimAt = chunkTrims, now.Add(trimEvery)
	}
	text, ids := string(batch.Buf), s.idTexts()
	prev, at := s.last, 0
	for k := 0; ; {
		c := valkeyChunk{from: k, last: prev}
		var prints []byte
		size := 0
		entries := make([]string, 0, 2*min(chunkEntries, len(s.ids)-k))
		for ; at < len(batch.Events) && k-c.from < chunkEntries && size < chunkBytes; at++ {
			e := &batch.Events[at]
			if e.Drop {
				continue
			}
			entries = append(entries, ids[k])
			entries = s.appendValues(entries, e, text[e.Off:e.Off+e.Len])
			prints = binary.LittleEndian.AppendUint64(prints, e.Fingerprint)
			size += int(e.Len)
			c.last = s.ids[k]
			k++
		}
		c.to = k
		final := k == len(s.ids)
		c.args = s.chunkArgs(p, &c, prev, prints, size, entries)
		if final {
			c.args[argCheckpoint] = string(checkpoint)
			c.args[argTrim] = strconv.Itoa(trim)
		}
		p.done.Bytes += size
		if c.to > c.from {
			p.done.Blocks = append(p.done.Blocks, AppendedBlock{Last: c.last, Entries: c.to - c.from})
		}
		p.chunks = append(p.chunks, c)
		prev = c.last
		if final {
			return p, nil
		}
	}
}

// Places in the arguments of the append script, behind the keys.
const (
	argCheckpoint = 9
	argTrim       = 13
)

// chunkArgs are the arguments of the append script.
func (s *valkeyStream) chunkArgs(p *pending, c *valkeyChunk, prev EntryID, prints []byte, size int, entries []string) []string {
	ms, n, b := s.bounds(s.retention)
	first := ""
	if c.to > c.from {
		first = entries[0]
	}
	args := append(make([]string, 0, 20+len(entries)),
		strconv.FormatUint(s.lease.Epoch, 10), s.lease.Node, prev.String(), c.last.String(), p.token, first,
		strconv.Itoa(c.to-c.from), strconv.Itoa(size), unsafe.String(unsafe.SliceData(prints), len(prints)), "",
		ms, n, b, "0", strconv.Itoa(1+len(s.store.opt.Fields)))
	if len(s.store.opt.Fields) > 0 {
		args = append(append(args, "json"), s.store.opt.Fields...)
	}
	return append(args, entries...)
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

// idTexts are the IDs as text, in one piece of memory.
func (s *valkeyStream) idTexts() []string {
	buf, ends := make([]byte, 0, 24*len(s.ids)), make([]int, len(s.ids))
	for i, id := range s.ids {
		buf, _ = id.AppendText(buf)
		ends[i] = len(buf)
	}
	all, texts, start := unsafe.String(unsafe.SliceData(buf), len(buf)), make([]string, len(s.ids)), 0
	for i, end := range ends {
		texts[i], start = all[start:end], end
	}
	return texts
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
