package consumer

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// worker is one worker of a consumer. It looks at the state, reads, and then asks for the lease, as
// a request does. In between, others do what they like.
type worker struct {
	seen State
	step Step
	end  int // of the batch that was read, 0 for none

	token string // of its batch, "" for none
	until time.Time
	batch [2]int // the first and the last entry
}

// workers drive one consumer against the store's clock, which is set back now and then, as when
// another server becomes the store's primary.
type workers struct {
	state  State
	now    time.Time
	newest int
	all    [2]worker

	handled map[int]bool // entries whose worker has done the work
	acked   int          // the position that the acks have moved to, as the workers know it
	out     int          // the end of the batch that went out and was not acknowledged, 0 for none
}

// seconds draws one of few durations: the rare cases lie where a lease just ends.
func (m *workers) seconds(t *rapid.T, label string, of ...int) time.Duration {
	return time.Duration(rapid.SampledFrom(of).Draw(t, label)) * time.Second
}

func (m *workers) pick(t *rapid.T) *worker {
	return &m.all[rapid.IntRange(0, len(m.all)-1).Draw(t, "worker")]
}

// next looks and asks for the lease at once.
func (m *workers) next(t *rapid.T) {
	w := m.pick(t)
	m.lookAs(t, w)
	m.grantTo(t, w)
}

// late asks for the lease of a batch that was read before another worker had it, and maybe dealt
// with it.
func (m *workers) late(t *rapid.T) {
	w := m.pick(t)
	m.lookAs(t, w)
	m.next(t)
	if rapid.Bool().Draw(t, "acked") {
		m.ack(t)
	}
	m.now = m.now.Add(m.seconds(t, "later", 0, 12))
	m.grantTo(t, w)
}

// failover sets the clock back between a look and the lease.
func (m *workers) failover(t *rapid.T) {
	w := m.pick(t)
	m.lookAs(t, w)
	m.now = m.now.Add(m.seconds(t, "back", -1, -3, -12))
	m.grantTo(t, w)
}

func (m *workers) look(t *rapid.T)  { m.lookAs(t, m.pick(t)) }
func (m *workers) grant(t *rapid.T) { m.grantTo(t, m.pick(t)) }

// lookAs reads the state, and the entries of the batch that is due.
func (m *workers) lookAs(t *rapid.T, w *worker) {
	if w.token != "" {
		return
	}
	w.seen, w.step, w.end = m.state, m.state.Next(m.now), 0
	switch w.step.Do {
	case Deliver:
		if w.end = min(int(w.step.After.MS)+rapid.IntRange(1, 5).Draw(t, "limit"), m.newest); w.end == int(w.step.After.MS) {
			w.end = 0
		}
	case Redeliver:
		w.end = int(w.step.Last.MS)
	}
}

// grantTo asks for the lease of the batch that was read, however long ago.
func (m *workers) grantTo(t *rapid.T, w *worker) {
	if w.end == 0 {
		return
	}
	end, token := w.end, Token(at(w.end), rand.Text())
	w.end = 0
	if !m.state.Same(w.seen) {
		return
	}
	lease := m.seconds(t, "lease", 2, 10)
	next, err := m.state.Grant(m.now, token, at(end), lease)
	if err != nil {
		if !errors.Is(err, ErrNotDue) || !next.Same(m.state) || m.state.Next(m.now).Do != Wait {
			t.Fatalf("a batch that is due is refused: %v", err)
		}
		return
	}
	for i := range m.all {
		if o := &m.all[i]; o.token != "" && m.now.Before(o.until) {
			t.Fatalf("a second holder of %v until %v, now %v", o.batch, o.until, m.now)
		}
		m.all[i].until = time.Time{} // its lease was over when the batch went out again, even if the clock goes back now
	}
	if begin := int(w.step.After.MS); begin != m.acked || int(next.Acked.MS) != m.acked {
		t.Fatalf("the batch that was read begins after %d, the position is %v, and %d were acknowledged", begin, next.Acked, m.acked)
	}
	if m.out != 0 && end != m.out {
		t.Fatalf("the batch to %d goes out again to %d", m.out, end)
	}
	m.out = end
	w.token, w.until, w.batch = token, m.now.Add(lease), [2]int{m.acked + 1, end}
	m.state = next
}

// ack says that the work was done, whether the lease is still the worker's or not.
func (m *workers) ack(t *rapid.T) {
	w := m.pick(t)
	if w.token == "" {
		return
	}
	for n := w.batch[0]; n <= w.batch[1]; n++ {
		m.handled[n] = true
	}
	next, moved, err := m.state.Ack(m.now, w.token)
	switch {
	case err == nil && moved:
		if w.batch[0] != m.acked+1 {
			t.Fatalf("an ack of %v moves the position from %d", w.batch, m.acked)
		}
		m.acked, m.out = w.batch[1], 0
	case err == nil && m.acked < w.batch[1]:
		t.Fatalf("the ack of %v is taken and lost: %d are acknowledged", w.batch, m.acked)
	case err != nil && (!errors.Is(err, ErrLeaseLost) || !next.Same(m.state)):
		t.Fatalf("the ack of %v: %v", w.batch, err)
	}
	if m.state = next; rapid.Bool().Draw(t, "again") { // the first answer was lost
		if again, moved, repeated := m.state.Ack(m.now, w.token); moved || err == nil && repeated != nil || !again.Same(m.state) {
			t.Fatalf("the second ack of %v: %v, %v", w.batch, moved, repeated)
		}
	}
	w.token = ""
}

func (m *workers) nack(t *rapid.T) {
	w := m.pick(t)
	if w.token == "" {
		return
	}
	m.state, _ = m.state.Nack(m.now, w.token, m.seconds(t, "delay", 0, 3))
	w.token = ""
}

func (m *workers) extend(t *rapid.T) {
	w := m.pick(t)
	if w.token == "" {
		return
	}
	lease := m.seconds(t, "lease", 2, 10)
	next, err := m.state.Extend(m.now, w.token, lease)
	if err == nil {
		w.until = m.now.Add(lease)
	}
	m.state = next
}

// crash loses a worker with its batch.
func (m *workers) crash(t *rapid.T) { *m.pick(t) = worker{} }

// However the calls of several workers follow one another, between their own looks and leases too:
// no entry has two holders at a time within a lease; an ack that was taken is never lost; every
// entry up to the position was handled, at least once; and the position only rises.
func TestI3_WorkersShareAConsumer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &workers{now: noon, handled: map[int]bool{}}
		last := 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.newest += rapid.IntRange(1, 8).Draw(t, "entries") },
			"pass": func(t *rapid.T) {
				m.now = m.now.Add(m.seconds(t, "later", 1, 4, 12))
			},
			"next": m.next, "next too": m.next, "late": m.late, "failover": m.failover, "look": m.look, "grant": m.grant, "ack": m.ack, "nack": m.nack, "extend": m.extend, "crash": m.crash,
			"": func(t *rapid.T) {
				position := int(m.state.Acked.MS)
				if position < last || position != m.acked {
					t.Fatalf("the position is %d; it was %d, and %d were acknowledged", position, last, m.acked)
				}
				for n := last + 1; n <= position; n++ {
					if !m.handled[n] {
						t.Fatalf("the position is %d, and nobody handled %d", position, n)
					}
				}
				last = position
			},
		})
	})
}
