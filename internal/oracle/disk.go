package oracle

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk/memdisk"
)

// diskState is the store's disk, which outlives the process, and what goes wrong with it.
type diskState struct {
	files   *memdisk.FS
	replies replies

	mu     sync.Mutex
	broken map[memdisk.Kind]int // operations of a kind that are still to fail
	wrong  misreads
	opened bool                  // the store is
	lies   func(memdisk.Op) bool // which syncs only claim to have synced; nil for none
}

func newDisk() *memdisk.FS { return new(memdisk.FS) }

// arm makes the disk fail as it is told to. Only files of streams fail: the copy of the state is
// not needed.
func (d *diskState) arm() {
	d.files.Fault = func(op memdisk.Op) error {
		if !strings.HasSuffix(op.Path, ".seg") {
			return nil
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.broken[op.Kind] > 0 {
			d.broken[op.Kind]--
			return syscall.EIO
		}
		return nil
	}
	d.files.Misread = func(op memdisk.Op, b []byte) {
		if strings.HasSuffix(op.Path, ".seg") {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.opened {
				d.wrong.read(b)
			}
		}
	}
	d.files.Lies = func(op memdisk.Op) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.lies != nil && d.lies(op)
	}
}

// misreads are reads that bring other bytes than the disk has: one bit is another one, or they are the
// bytes of the read before. The same read brings the right bytes the next time.
type misreads struct {
	left   int
	before []byte // what the read before brought
	right  bool   // the next read is
}

// read changes what a read brings, if it is its turn.
func (m *misreads) read(b []byte) {
	if m.left == 0 || len(b) == 0 {
		return
	}
	brought := bytes.Clone(b)
	if !m.right {
		m.left--
		if m.left%2 == 0 || len(m.before) == 0 {
			b[len(b)/2] ^= 1 << (m.left % 8)
		} else {
			copy(b, m.before)
		}
	}
	m.right = !m.right
	m.before = brought
}

// change changes what goes wrong.
func (d *diskState) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// fate is what becomes of unsynced writes in a power cut. A disk that lies keeps none of them: that
// it keeps parts is damage, of which the store's own tests have every kind.
func (w *world) fate() memdisk.Fate {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	if w.disk.lies != nil {
		return memdisk.Dropped
	}
	return memdisk.Fates[w.rnd.IntN(len(memdisk.Fates))]
}

// fail makes the next n operations of a kind fail.
func (d *diskState) fail(kind memdisk.Kind, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = map[memdisk.Kind]int{}
	}
	d.broken[kind] += n
}

func (d *diskState) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.wrong, d.lies = nil, misreads{}, nil
	d.replies.heal()
}

// replies are the answers to appends. They can be lost or late, as the answers of a remote store
// are: the daemon then does not know whether the append is stored.
type replies struct {
	mu     sync.Mutex
	lost   int           // appends that are stored and answer with an error
	failed int           // appends that are not stored
	late   time.Duration // how long an append takes
	frozen chan struct{} // appends wait until it is closed
}

// repliedStore is a store with such answers.
type repliedStore struct {
	persistence.Store
	replies *replies
	ledger  *ledger // nil if the stream keeps everything
	pace    *pace
}

var errReply = errors.New("connection reset by peer")

func (r *replies) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *replies) heal() {
	r.set(func() {
		r.lost, r.failed, r.late = 0, 0, 0
		if r.frozen != nil {
			close(r.frozen)
			r.frozen = nil
		}
	})
}

// OpenStream implements persistence.Store.
func (s *repliedStore) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	stream, err := s.Store.OpenStream(ctx, name, opt)
	if err != nil {
		return nil, err
	}
	return &repliedStream{stream, s}, nil
}

type repliedStream struct {
	persistence.Stream
	of *repliedStore
}

// before lets an append wait, fail or lose its answer, as it is due.
func (r *replies) before(ctx context.Context) (lost bool, err error) {
	r.mu.Lock()
	late, frozen, failed := r.late, r.frozen, r.failed > 0
	switch {
	case failed:
		r.failed--
	case r.lost > 0:
		r.lost--
		lost = true
	}
	r.mu.Unlock()
	time.Sleep(late / 2)
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if failed {
		return false, &persistence.UnavailableError{Store: "model", Reason: persistence.ReasonIO, Err: errReply}
	}
	return lost, nil
}

// after lets the answer wait, if it is late.
func (r *replies) after() {
	r.mu.Lock()
	late := r.late
	r.mu.Unlock()
	time.Sleep(late / 2)
}

// Append implements persistence.Stream.
func (s *repliedStream) Append(ctx context.Context, b *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	lost, err := s.of.replies.before(ctx)
	if err != nil {
		return persistence.Appended{}, err
	}
	stored, err := s.of.pace.append(func() (persistence.Appended, error) { return s.Stream.Append(ctx, b, cp) })
	if s.of.ledger != nil {
		s.of.ledger.follow(s.of.Store)
	}
	s.of.replies.after()
	if lost && err == nil {
		return persistence.Appended{}, errReply
	}
	return stored, err
}

// freeze makes appends wait.
func (r *replies) freeze() {
	r.set(func() {
		if r.frozen == nil {
			r.frozen = make(chan struct{})
		}
	})
}

func (r *replies) thaw() {
	r.set(func() {
		if r.frozen != nil {
			close(r.frozen)
			r.frozen = nil
		}
	})
}

// filterStore keeps the feed's filters, as files beside the store do.
type filterStore struct {
	mu  sync.Mutex
	log *messages.FilterLog
}

// LoadFilters implements actors.FilterStore.
func (f *filterStore) LoadFilters(context.Context, string) (*messages.FilterLog, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log, nil
}

// SaveFilters implements actors.FilterStore.
func (f *filterStore) SaveFilters(_ context.Context, _ string, log messages.FilterLog) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = &log
	return nil
}
