package valkey

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// chunkEntries is how many entries one script appends. The server does nothing else during this
	// time, about 1.5 ms.
	chunkEntries = 256
	// chunkBytes ends a chunk before it has chunkEntries entries.
	chunkBytes = 4 << 20
	// chunkTrims is how many blocks one append drops at most. trimEvery is how often appends apply
	// retention.
	chunkTrims = 8
	trimEvery  = time.Second
)

// ending is the end of a stream: its newest entry and the token of its last append.
type ending struct {
	last  persistence.EntryID
	token string
}

// chunk is the input of one script run: a block of the stream.
type chunk struct {
	from, to int    // indices of the batch's kept events
	after    ending // the end of the stream after it
	args     []string
}

// pending is an append in progress: the batch, divided into chunks.
type pending struct {
	before     ending
	chunks     []chunk
	done       persistence.Appended
	stored     int // number of chunks known to be stored
	checkpoint string
	memory     *appendMemory // the memory of the chunks
}

// appendMemory is the memory of an append's arguments. The next append reuses it if every chunk was
// answered. After any other outcome the connection may still send from it, and it is not reused.
type appendMemory struct {
	text         []byte // the events' JSON
	ids          []byte // the IDs as text
	fingerprints []byte
	idAt         []string // the IDs as strings that point into ids
	args         []string // the arguments of all chunks
}

// keepMemory is how many bytes of text memory are kept, however few of them an append uses.
const keepMemory = 1 << 20

// reset prepares the memory for the next append, with the given number of bytes of JSON.
func (m *appendMemory) reset(bytes int) {
	if cap(m.text) > keepMemory && bytes < cap(m.text)/16 {
		*m = appendMemory{}
	}
	clear(m.args)
	m.text, m.ids, m.fingerprints, m.idAt, m.args = m.text[:0], m.ids[:0], m.fingerprints[:0], m.idAt[:0], m.args[:0]
}

// Indices of the append script's arguments, without the keys.
const (
	argPrev         = 2
	argBefore       = 3
	argLast         = 4
	argToken        = 5
	argFirst        = 6
	argCount        = 7
	argBytes        = 8
	argFingerprints = 9
	argCheckpoint   = 10
	argBounds       = 11 // four
	argTrim         = 15
	argEntries      = 17 // the entries, or the names of the fields before them
)

// prepare makes the chunks, which begin where the stream is known to end. It copies the events,
// because the connection may use them longer than the caller does.
//
// A chunk's token is a hash of its entries and of the token before it. Without entries it is a hash
// of the checkpoint and of the token before. So the tokens are a chain: if the server has one of
// them, the same appends led there. A repeated batch is recognised by its content, not by its
// sender or by its address in memory.
func (s *stream) prepare(batch *messages.Batch, cp messages.Checkpoint) (*pending, error) {
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
	p := &pending{before: s.end, checkpoint: string(checkpoint), memory: mem}
	if len(s.ids) > 0 {
		p.done.First, p.done.Last, p.done.Entries = s.ids[0], last, len(s.ids)
	}
	trim := 0
	if now := s.store.clock.Now(); s.retention != (persistence.Retention{}) && !now.Before(s.trimAt) {
		trim, s.trimAt = chunkTrims, now.Add(trimEvery)
	}
	// The strings of the arguments point into memory that does not move any more.
	mem.text = append(mem.text, batch.Buf...)
	text := unsafe.String(unsafe.SliceData(mem.text), len(mem.text))
	mem.fingerprints = slices.Grow(mem.fingerprints, 8*len(s.ids))
	fields := len(s.store.opt.Fields)
	chunks := len(s.ids)/chunkEntries + 1 + len(batch.Buf)/chunkBytes
	mem.args = slices.Grow(mem.args, chunks*(argEntries+1+fields)+len(s.ids)*(2+fields))
	keep := [4]string{"0", "0", "0", "0"}
	if trim > 0 {
		keep = s.round(s.retention)
	}
	head := [argEntries]string{strconv.FormatUint(s.lease.Epoch, 10), s.lease.Node, argBounds: keep[0], keep[1], keep[2], keep[3], "0", strconv.Itoa(1 + fields)}

	var hash maphash.Hash
	hash.SetSeed(s.store.seed)
	for prev, at, k := s.end, 0, 0; ; {
		c := chunk{from: k, after: prev}
		size, args, index := 0, len(mem.args), len(mem.fingerprints)
		mem.args = append(mem.args, head[:]...)
		if fields > 0 {
			mem.args = append(append(mem.args, "json"), s.store.opt.Fields...)
		}
		hash.Reset()
		hash.WriteString(prev.token)
		for ; at < len(batch.Events) && k-c.from < chunkEntries && size < chunkBytes; at++ {
			e := &batch.Events[at]
			if e.Drop {
				continue
			}
			event := text[e.Off : e.Off+e.Len]
			mem.args = append(mem.args, mem.idAt[k])
			mem.args = s.appendValues(mem.args, e, event)
			mem.fingerprints = binary.LittleEndian.AppendUint64(mem.fingerprints, e.Fingerprint)
			hash.WriteString(mem.idAt[k])
			hash.WriteByte(0)
			hash.WriteString(event)
			hash.WriteByte(0)
			size += int(e.Len)
			c.after.last = s.ids[k]
			k++
		}
		c.to = k
		c.args = mem.args[args:len(mem.args):len(mem.args)]
		if c.to > c.from {
			c.args[argFirst] = mem.idAt[c.from]
			p.done.Blocks = append(p.done.Blocks, persistence.AppendedBlock{Last: c.after.last, Entries: c.to - c.from})
		}
		hash.Write(mem.fingerprints[index:])
		final := k == len(s.ids)
		if final {
			if len(s.ids) == 0 {
				hash.Write(checkpoint)
			}
			c.args[argCheckpoint] = p.checkpoint
			c.args[argTrim] = strconv.Itoa(trim)
		}
		c.after.token = c.args[0] + "-" + strconv.FormatUint(hash.Sum64(), 16)
		c.args[argPrev], c.args[argBefore] = prev.last.String(), prev.token
		c.args[argLast], c.args[argToken] = c.after.last.String(), c.after.token
		c.args[argCount], c.args[argBytes] = strconv.Itoa(c.to-c.from), strconv.Itoa(size)
		c.args[argFingerprints] = unsafe.String(unsafe.SliceData(mem.fingerprints[index:]), len(mem.fingerprints)-index)
		p.done.Bytes += size
		p.chunks = append(p.chunks, c)
		if final {
			return p, nil
		}
		prev = c.after
	}
}

// addCheckpoint adds a chunk without entries that only stores the checkpoint.
func (s *stream) addCheckpoint(p *pending) {
	before := p.chunks[len(p.chunks)-1]
	c := chunk{from: before.to, to: before.to, after: before.after, args: slices.Clone(before.args[:argEntries])}
	var hash maphash.Hash
	hash.SetSeed(s.store.seed)
	hash.WriteString(before.after.token)
	hash.WriteString(p.checkpoint)
	c.after.token = c.args[0] + "-" + strconv.FormatUint(hash.Sum64(), 16)
	c.args[argPrev], c.args[argBefore] = before.after.last.String(), before.after.token
	c.args[argToken] = c.after.token
	c.args[argCount], c.args[argBytes], c.args[argFingerprints], c.args[argFirst] = "0", "0", "", ""
	p.chunks = append(p.chunks, c)
}

// deriveIDs derives the IDs of the kept events, in s.ids and as text, and returns the last one.
func (s *stream) deriveIDs(batch *messages.Batch, mem *appendMemory) persistence.EntryID {
	s.ids = s.ids[:0]
	last := s.end.last
	for i := range batch.Events {
		if e := &batch.Events[i]; !e.Drop {
			if len(s.ids) == 0 && last.Compare(s.foreign) < 0 {
				last = s.foreign
			}
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

// appendValues appends an entry's values: its JSON and the configured fields.
func (s *stream) appendValues(to []string, e *messages.Event, event string) []string {
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
