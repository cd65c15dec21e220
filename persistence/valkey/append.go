package valkey

import (
	"context"
	"errors"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/internal/crashpoint"
	"tempestd/messages"
	"tempestd/persistence"
)

// inFlight is how many chunks are sent before the first is answered.
const inFlight = 16

// foreignTolerance is how far in the future an ID of another client may be. New IDs are put after
// such an ID. With an ID further in the future, appends are refused.
const foreignTolerance = 5 * time.Minute

// Append implements persistence.Stream. The batch is sent in chunks. Each chunk is one atomic step,
// and the last one contains the checkpoint. The chunks of an append that was interrupted come after
// the checkpoint, where a resume finds them. The chunks are sent without waiting for answers. A
// chunk changes nothing if the stream does not end with the chunk before it, so no entries are
// missing between chunks.
//
// The handle keeps only the end of the stream from one append to the next, and whether that end is
// certain. If it is not, Append asks the server first. If the server has this batch or a part of
// it, the rest is sent. If the server has anything else, for example because the writer was
// restarted while its last append was on the way, this handle appends no more.
func (s *stream) Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.lease.IsZero() {
		return persistence.Appended{}, readOnlyError(s.name)
	}
	if s.conflict != nil {
		return persistence.Appended{}, s.conflict
	}
	done, err := s.append(ctx, batch, cp)
	if moved, ok := errors.AsType[*persistence.ConflictError](err); ok {
		s.conflict = moved
	}
	s.store.note("append to stream "+s.name, err)
	return done, err
}

func (s *stream) append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	if err := s.find(ctx); err != nil {
		return persistence.Appended{}, err
	}
	p, err := s.prepare(batch, cp)
	if err != nil {
		return persistence.Appended{}, err
	}
	if s.doubt {
		err = s.ask(ctx, p)
	}
	if err == nil {
		err = s.send(ctx, p)
	}
	if err != nil {
		return persistence.Appended{}, err
	}
	s.memory = p.memory
	s.end = p.chunks[len(p.chunks)-1].after
	return p.done, nil
}

// find asks the server where the stream ends, once per handle. It may be another server than the one
// that the writer knows the stream from, with older data or with another history, and the same epoch
// in it: epochs are counted in the server, and a failover can take them back.
func (s *stream) find(ctx context.Context) error {
	if s.known {
		return nil
	}
	if err := s.store.list(ctx, s.name); err != nil {
		return err
	}
	m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Hmget().Key(s.keys.meta).Field(endFields...).Build()
	})
	if err != nil {
		return err
	}
	r, err := decodeEnd(m)
	if err != nil {
		return s.refuse(err)
	}
	if r.layout != layoutVersion {
		return s.store.refuse("stream %s has layout version %.20q; this version writes %q", s.name, r.layout, layoutVersion)
	}
	if told := s.told.Load(); told != nil && *told != r.end {
		return &persistence.ConflictError{Stream: s.name, Expected: told.last, Found: r.end.last}
	}
	waits, shown := s.store.opt.waits(), r.limited && r.shown == r.end.last
	switch {
	case waits && !shown:
		err = s.confirm(ctx, r.end, false)
	case !waits && r.limited:
		err = s.show(ctx, r.end)
	}
	if err != nil {
		return err
	}
	s.end, s.known = r.end, true
	return nil
}

// confirm shows the stream up to its end, and before it waits until that is durable, unless it is
// known to be.
func (s *stream) confirm(ctx context.Context, end ending, durable bool) error {
	if !durable {
		if err := s.settle(ctx, end); err != nil {
			return err
		}
	}
	crashpoint.Pass(crashpoint.ValkeyDurable)
	return s.show(ctx, end)
}

// refuse returns the error for data of the stream that cannot be used.
func (s *stream) refuse(err error) error { return s.store.refuse("stream %s: %v", s.name, err) }

// ask finds out how much of an append was stored: the stream ends with one of its chunks, or where
// it ended before them. A chunk that arrives later finds the stream changed and does nothing.
func (s *stream) ask(ctx context.Context, p *pending) error {
	m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Hmget().Key(s.keys.meta).Field(outcomeFields...).Build()
	})
	if err != nil {
		return err
	}
	r, err := decodeOutcome(m)
	if err != nil {
		return s.refuse(err)
	}
	if r.epoch != s.lease.Epoch || r.node != s.lease.Node {
		if r.node == "" {
			r.owner = ""
		}
		return &persistence.FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: r.epoch, Owner: r.owner}
	}
	p.stored = 0
	if r.end == p.before {
		return nil
	}
	for i := range p.chunks {
		if p.chunks[i].after == r.end {
			p.stored = i + 1
			if p.stored == len(p.chunks) && r.checkpoint != p.checkpoint {
				s.addCheckpoint(p) // the same events were stored with another checkpoint
			}
			return nil
		}
	}
	return &persistence.ConflictError{Stream: s.name, Expected: p.before.last, Found: r.end.last}
}

// attempts is how often chunks are sent again, after asking, if the server answers that they are
// out of order. A redirected connection may deliver them out of order.
const attempts = 3

// send sends the chunks that are not stored yet. The end of the stream is in doubt while they are
// on their way, and after an answer that does not tell their outcome.
func (s *stream) send(ctx context.Context, p *pending) error {
	durable := false
	for try := 1; p.stored < len(p.chunks); try++ {
		s.doubt = true
		reached, err := s.sendChunks(ctx, p)
		durable = reached
		if err == nil {
			continue
		}
		if _, moved := errors.AsType[*persistence.ConflictError](err); !moved || try == attempts {
			return err
		}
		if err := s.ask(ctx, p); err != nil {
			return err
		}
	}
	crashpoint.Pass(crashpoint.ValkeyStored)
	if s.store.opt.waits() {
		if err := s.confirm(ctx, p.chunks[len(p.chunks)-1].after, durable); err != nil {
			return err
		}
	}
	s.doubt = false
	return nil
}

// sendChunks sends the next chunks together and handles the answers in order. durable says that the
// wait behind the last chunk has succeeded.
func (s *stream) sendChunks(ctx context.Context, p *pending) (durable bool, err error) {
	chunks := p.chunks[p.stored:min(len(p.chunks), p.stored+inFlight)]
	wait := s.store.opt.waits() && p.stored+len(chunks) == len(p.chunks)
	answers, err := call(ctx, s.store, s.conn, func(ctx context.Context, client valkeygo.Client) (answers []valkeygo.ValkeyResult, err error) {
		if !wait {
			return s.exchange(ctx, client, chunks, false), nil
		}
		err = client.Dedicated(func(c valkeygo.DedicatedClient) error {
			answers = s.exchange(ctx, c, chunks, true)
			return nil
		})
		return answers, err
	})
	if err != nil {
		s.conn.reset()
		return false, err
	}
	for i := range chunks[:min(len(chunks), len(answers))] {
		m, err := answers[i].ToMessage()
		if i > 0 && isNoScript(err) {
			return false, nil // the next round sends it again
		}
		if err == nil {
			err = s.verdict(p, &chunks[i], m)
		} else {
			// The commands sent on this connection may still arrive. No more may be sent on it.
			s.conn.reset()
			err = s.store.failure(ctx, err)
		}
		if err != nil {
			return false, err
		}
		p.stored++
	}
	if len(answers) <= len(chunks) {
		return false, nil
	}
	err = s.reached(ctx, answers[len(chunks):])
	return err == nil, err
}

// exchange sends chunks. If the server does not know the script, only the first one is sent. With
// wait, the waits for durability follow the last chunk's answer, and their answers those of the
// chunks.
func (s *stream) exchange(ctx context.Context, client valkeygo.CoreClient, chunks []chunk, wait bool) []valkeygo.ValkeyResult {
	commands := make([]valkeygo.Completed, 0, inFlight)
	for i := range chunks {
		commands = append(commands, s.appendCommand(client, &chunks[i], false))
	}
	answers := client.DoMulti(ctx, commands...)
	if isNoScript(answers[0].Error()) {
		// The chunks after it were not run either. The first chunk is sent with the script, so that
		// the server knows it.
		answers = []valkeygo.ValkeyResult{client.Do(ctx, s.appendCommand(client, &chunks[0], true))}
	}
	if wait && len(answers) == len(chunks) && answers[len(answers)-1].Error() == nil {
		answers = append(answers, s.store.wait(ctx, client)...)
	}
	return answers
}

func (s *stream) appendCommand(client valkeygo.CoreClient, c *chunk, whole bool) valkeygo.Completed {
	keys := []string{s.keys.stream, s.keys.meta, s.keys.blocks}
	if whole {
		return client.B().Eval().Script(scriptAppend.source).Numkeys(3).Key(keys...).Arg(c.args...).Build()
	}
	return client.B().Evalsha().Sha1(scriptAppend.sha).Numkeys(3).Key(keys...).Arg(c.args...).Build()
}

// verdict handles the script's answer for a chunk.
func (s *stream) verdict(p *pending, c *chunk, m valkeygo.ValkeyMessage) error {
	r, err := decodeAppend(m)
	if err != nil {
		s.conn.reset() // it may be the answer to another command
		return s.refuse(err)
	}
	switch r.verdict {
	case appendFenced:
		return &persistence.FencedError{Stream: s.name, Epoch: s.lease.Epoch, Current: r.epoch, Owner: r.owner}
	case appendClosed:
		return persistence.ClosedError(s.name, r.reason)
	case appendConflict:
		e := &persistence.ConflictError{Stream: s.name, Expected: p.before.last, Found: r.last}
		if c.from > 0 {
			e.Expected = s.ids[c.from-1]
		}
		return e
	case appendForeign:
		// An ID of about the present time, as from XADD with *, costs only the next events their
		// own IDs, like a step back in time. An ID far in the future would cost all events their
		// own IDs.
		if limit := s.store.clock.Now().Add(foreignTolerance).UnixMilli(); r.key == s.keys.stream && r.last.MS <= uint64(max(limit, 0)) {
			s.foreign = r.last
		}
		return s.store.refuse("%s was given the ID %s by somebody else, and what is to be appended begins with %s", r.key, r.last, c.args[argFirst])
	}
	s.trimmed(r.trimmed, r.failed)
	return nil
}

// trimmed reports the entries that an append dropped, or why it could not drop any. It reports the
// same error only once, because retention is tried every second.
func (s *stream) trimmed(dropped persistence.Trimmed, failed string) {
	if failed != s.trimFailed {
		if s.trimFailed = failed; failed != "" {
			s.store.emit(persistence.MaintenanceFailed{Stream: s.name, Err: s.store.refuse("retention: %s", words(failed))})
		}
	}
	if dropped.Entries > 0 {
		s.store.emit(persistence.StreamTrimmed{Stream: s.name, Trimmed: dropped})
		s.trimAt = s.store.clock.Now() // there may be more
	}
}
