package persistence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

// inFlight is how many chunks are sent before the first is answered.
const inFlight = 16

// foreignTolerance is how far in the future an ID of somebody else's may lie that ours step over.
const foreignTolerance = 5 * time.Minute

// Append implements Stream. The batch goes in chunks, each one atomic step, the last one with the checkpoint: what an append that was cut short left stands
// behind the checkpoint, where a resume finds it. Chunks follow one another without waiting; one that does not find the stream as the one before it
// leaves it changes nothing, so there are no holes.
//
// Nothing of an append is kept for the next one but where the stream ends, and whether that is
// certain. Where it is not, the server is asked first. What it holds beyond our end is this very
// batch, or a part of it, and the rest is sent; or it is something else, as after a writer was
// restarted while its last append was on the way, and then nothing more is appended through this
// handle.
func (s *valkeyStream) Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.lease.IsZero() {
		return Appended{}, fmt.Errorf("stream %s was opened without a lease: it can only be read", s.name)
	}
	if s.moved != nil {
		return Appended{}, s.moved
	}
	done, err := s.append(ctx, batch, cp)
	if moved, ok := errors.AsType[*ConflictError](err); ok {
		s.moved = moved
	}
	s.store.note("append to stream "+s.name, err)
	return done, err
}

func (s *valkeyStream) append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error) {
	if err := s.find(ctx); err != nil {
		return Appended{}, err
	}
	p, err := s.cut(batch, cp)
	if err != nil {
		return Appended{}, err
	}
	if s.doubt {
		err = s.ask(ctx, p)
	}
	if err == nil {
		err = s.send(ctx, p)
	}
	if err != nil {
		return Appended{}, err
	}
	s.memory = p.memory
	s.end = p.chunks[len(p.chunks)-1].after
	return p.done, nil
}

// find learns where the stream ends, once.
func (s *valkeyStream) find(ctx context.Context) error {
	if s.known {
		return nil
	}
	if err := s.store.list(ctx, s.name); err != nil {
		return err
	}
	m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Hmget().Key(s.keys.meta).Field("layout", "last", "token").Build()
	})
	if err != nil {
		return err
	}
	r := read("where the stream ends", m)
	layout := r.text()
	end := ending{last: r.id(), token: r.text()}
	if err := r.end(); err != nil {
		return s.refuse(err)
	}
	if layout != valkeyLayout {
		return s.store.refuse("stream %s has layout version %.20q; this version writes %q", s.name, layout, valkeyLayout)
	}
	s.end, s.known = end, true
	return nil
}

// refuse is the error about something of the stream's that cannot be used.
func (s *valkeyStream) refuse(err error) error { return s.store.refuse("stream %s: %v", s.name, err) }

// ask finds out how much of an append landed: the stream ends with one of its chunks, or where it
// did before them. A chunk that is still on its way finds the stream changed and does nothing.
func (s *valkeyStream) ask(ctx context.Context, p *pending) error {
	m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Hmget().Key(s.keys.meta).Field("epoch", "node", "owner", "last", "token", "checkpoint").Build()
	})
	if err != nil {
		return err
	}
	r := read("where the stream ends", m)
	epoch, node, owner := r.count(), r.text(), r.text()
	found, stored := ending{last: r.id(), token: r.text()}, r.text()
	if err := r.end(); err != nil {
		return s.refuse(err)
	}
	if epoch != s.lease.Epoch || node != s.lease.Node {
		if node == "" {
			owner = ""
		}
		return &FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: epoch, Owner: owner}
	}
	p.landed = 0
	if found == p.before {
		return nil
	}
	for i := range p.chunks {
		if p.chunks[i].after == found {
			p.landed = i + 1
			if p.landed == len(p.chunks) && stored != p.checkpoint {
				s.addCheckpoint(p) // the same events came with another
			}
			return nil
		}
	}
	return &ConflictError{Stream: s.name, Expected: p.before.last, Found: found.last}
}

// attempts is how often chunks that were answered "not in turn" are sent again, after asking; a redirected connection may deliver them so.
const attempts = 3

// send sends the chunks that have not landed. While they are on their way, and after an answer that
// does not say what became of them, the stream's end is in doubt.
func (s *valkeyStream) send(ctx context.Context, p *pending) error {
	for try := 1; p.landed < len(p.chunks); try++ {
		s.doubt = true
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
	s.doubt = false
	return nil
}

// sendChunks sends the next chunks together and looks at the answers in turn.
func (s *valkeyStream) sendChunks(ctx context.Context, p *pending) error {
	chunks := p.chunks[p.landed:min(len(p.chunks), p.landed+inFlight)]
	answers, err := call(ctx, s.store, s.conn, func(ctx context.Context, client valkey.Client) ([]valkey.ValkeyResult, error) {
		commands := make([]valkey.Completed, 0, inFlight)
		for i := range chunks {
			commands = append(commands, s.appendCommand(client, &chunks[i], false))
		}
		answers := client.DoMulti(ctx, commands...)
		if isNoScript(answers[0].Error()) {
			// Those behind it were not run either. The one that carries the script brings it to the
			// server.
			answers = []valkey.ValkeyResult{client.Do(ctx, s.appendCommand(client, &chunks[0], true))}
		}
		return answers, nil
	})
	if err != nil {
		s.conn.reset()
		return err
	}
	for i := range answers {
		m, err := answers[i].ToMessage()
		if i > 0 && isNoScript(err) {
			return nil // the next round brings it
		}
		if err == nil {
			err = s.verdict(p, &chunks[i], m)
		} else {
			// What was sent on this connection may still arrive; nothing more is to go that way.
			s.conn.reset()
			err = s.store.failure(ctx, err)
		}
		if err != nil {
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
	r := read("the answer to an append", m)
	switch word := r.text(); word {
	case "OK":
		dropped, failed := Trimmed{Entries: r.number(), Bytes: r.number()}, r.text()
		if err := r.end(); err != nil {
			return s.refuse(err)
		}
		s.trimmed(dropped, failed)
		return nil
	case "FENCED":
		e := &FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: r.count(), Owner: r.text()}
		if err := r.end(); err != nil {
			return s.refuse(err)
		}
		return e
	case "CLOSED":
		reason := r.text()
		if err := r.end(); err != nil {
			return s.refuse(err)
		}
		return ClosedError(s.name, reason)
	case "CONFLICT":
		e := &ConflictError{Stream: s.name, Expected: p.before.last, Found: r.id()}
		if c.from > 0 {
			e.Expected = s.ids[c.from-1]
		}
		if err := r.end(); err != nil {
			return s.refuse(err)
		}
		return e
	case "FOREIGN":
		key, last := r.text(), r.id()
		if err := r.end(); err != nil {
			return s.refuse(err)
		}
		// One of about this time, as by XADD with *, costs the next events their own IDs, as one
		// would that steps back. One far beyond would cost all of them theirs.
		if limit := s.store.clock.Now().Add(foreignTolerance).UnixMilli(); key == s.keys.stream && last.MS <= uint64(max(limit, 0)) {
			s.foreign = last
		}
		return s.store.refuse("%s was given the ID %s by somebody else, and what is to be appended begins with %s", key, last, c.args[argFirst])
	default:
		if err := r.err; err != nil {
			return s.refuse(err)
		}
		return s.store.refuse("stream %s: the append script answered %.80q", s.name, word)
	}
}

// trimmed tells what an append dropped, or why it could not. That is told once: it is tried every
// second.
func (s *valkeyStream) trimmed(dropped Trimmed, failed string) {
	if failed != s.trimFailed {
		if s.trimFailed = failed; failed != "" {
			s.store.emit(MaintenanceFailed{Stream: s.name, Err: s.store.refuse("retention: %s", words(failed))})
		}
	}
	if dropped.Entries > 0 {
		s.store.emit(StreamTrimmed{s.name, dropped})
		s.trimAt = s.store.clock.Now() // there may be more
	}
}
