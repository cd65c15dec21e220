package embedded_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
)

// faulty is a store on a file system with the faults that fault defines.
type faulty struct {
	t     *testing.T
	files *memdisk.FS
	store *embedded.Store
	s     persistence.Stream
	fault atomic.Pointer[func(memdisk.Op) error]
	wrong atomic.Bool // every second read brings other bytes than the disk has
	told
	seq int64
}

func openFaulty(t *testing.T, opt embedded.Options) *faulty {
	f := &faulty{t: t, files: new(memdisk.FS)}
	f.files.Fault = func(op memdisk.Op) error {
		if fault := f.fault.Load(); fault != nil {
			return (*fault)(op)
		}
		return nil
	}
	reads := 0
	f.files.Misread = func(_ memdisk.Op, b []byte) {
		if reads++; f.wrong.Load() && reads%2 == 0 && len(b) > 0 {
			b[len(b)/2] ^= 4
		}
	}
	opt.Files = f.files
	opt.OnNotice = f.told.add
	f.store, f.s = openFeed(t, "/store", opt)
	t.Cleanup(func() {
		f.fault.Store(nil)
		must(t, f.store.Close())
	})
	return f
}

// refuse makes the operations of a kind fail until heal is called.
func (f *faulty) refuse(kind memdisk.Kind, err error) {
	fault := func(op memdisk.Op) error {
		if op.Kind == kind {
			return err
		}
		return nil
	}
	f.fault.Store(&fault)
}

func (f *faulty) heal() { f.fault.Store(nil) }

// append appends n events, and counts them when they are stored.
func (f *faulty) append(n int) error {
	batch := new(messages.Batch)
	crashBatch(batch, f.seq, n)
	_, err := f.s.Append(f.t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: f.seq + int64(n)}})
	if err == nil {
		f.seq += int64(n)
	}
	return err
}

func (f *faulty) check(what string) {
	f.t.Helper()
	if n := checkStored(f.t, what, f.s); n != f.seq {
		f.t.Fatalf("%s: %d entries are stored, want %d", what, n, f.seq)
	}
}

func (f *faulty) toldOf(want persistence.Notice) (n int) {
	for _, e := range f.told.all() {
		switch want.(type) {
		case persistence.WriteFailed:
			if _, ok := e.(persistence.WriteFailed); ok {
				n++
			}
		case persistence.WriteRecovered:
			if _, ok := e.(persistence.WriteRecovered); ok {
				n++
			}
		}
	}
	return n
}

// TestI2_WriteErrorsPass makes writes and syncs fail in every place, again and again. The append
// returns the error and may be repeated. Readers read the committed entries. The repeated append
// stores its entries once.
func TestI2_WriteErrorsPass(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{0, time.Hour} {
		for _, kind := range []memdisk.Kind{memdisk.WriteAt, memdisk.Sync, memdisk.Open, memdisk.Truncate, memdisk.Prealloc, memdisk.Make, memdisk.SyncDir} {
			for _, reason := range []error{syscall.EIO, syscall.EROFS, syscall.ENOSPC} {
				f := openFaulty(t, embedded.Options{SyncInterval: interval, SegmentBytes: 4 << 10, Maintenance: time.Hour})
				what := string(kind) + ": " + reason.Error()
				failures := 0
				for round := range 40 {
					if round%3 == 2 {
						f.refuse(kind, reason)
					}
					if interval > 0 && round%4 == 1 {
						embedded.SyncLog(t.Context(), f.store)
					}
					for try := 0; ; try++ {
						err := f.append(1 + round%9)
						if err == nil {
							break
						}
						failures++
						_, full := errors.AsType[*persistence.NoSpaceError](err)
						away, unavailable := errors.AsType[*persistence.UnavailableError](err)
						if !persistence.Temporary(err) || full != (reason == syscall.ENOSPC) || unavailable && (away.Reason != "io" || !errors.Is(err, reason)) {
							t.Fatalf("%s: append: %v", what, err)
						}
						if kind != memdisk.Open {
							f.check(what)
						}
						if try == 1 {
							f.heal()
						}
					}
					f.heal()
					f.check(what)
				}
				if failures == 0 && slices.Contains([]memdisk.Kind{memdisk.WriteAt, memdisk.Prealloc}, kind) {
					t.Errorf("%s: no append failed", what)
				}
				if n, back := f.toldOf(persistence.WriteFailed{}), f.toldOf(persistence.WriteRecovered{}); n != back {
					t.Errorf("%s: told %d times that writes fail and %d times that they work again", what, n, back)
				}
				must(t, f.store.Close())
				f.store, f.s = openFeed(t, "/store", embedded.Options{Files: f.files, SegmentBytes: 4 << 10})
				f.check(what + ": opened again")
			}
		}
	}
}

// TestConflictAfterAnErrorThatTookEntries makes the disk lose, with an error, entries that it had
// reported as stored. The writer learns where the stream ends now.
func TestConflictAfterAnErrorThatTookEntries(t *testing.T) {
	t.Parallel()
	f := openFaulty(t, embedded.Options{Maintenance: time.Hour})
	var ends []int64
	for range 5 {
		must(t, f.append(10))
		file, err := f.files.Open("/store/streams/feed/000000000001.seg", 0)
		must(t, err)
		b := make([]byte, 64<<10)
		_, err = file.ReadAt(b, 0)
		must(t, err)
		ends = append(ends, int64(used(b)))
	}
	f.refuse(memdisk.Sync, syscall.EIO)
	if err := f.append(10); !persistence.Temporary(err) {
		t.Fatalf("a sync that fails: %v", err)
	}
	f.heal()
	file, err := f.files.Open("/store/streams/feed/000000000001.seg", 1)
	must(t, err)
	_, err = file.WriteAt(make([]byte, ends[4]-ends[2]), ends[2]) // the last two appends are lost
	must(t, err)
	err = f.append(10)
	conflict, ok := errors.AsType[*persistence.ConflictError](err)
	if !ok || conflict.Expected != idOf(49) || conflict.Found != idOf(29) {
		t.Fatalf("the append after it: %v", err)
	}
	info, err := f.s.Info(t.Context())
	must(t, err)
	if info.Lost == nil || info.Lost.Expected != idOf(49) || info.Lost.Found != idOf(29) || info.Lost.Oldest != idOf(0) {
		t.Errorf("lost is %+v", info.Lost)
	}
	f.seq = 30
	f.check("after the conflict")
	must(t, f.append(20))
	f.check("fetched again")
	if info, err := f.s.Info(t.Context()); err != nil || info.Lost != nil {
		t.Errorf("after the first append lost is %+v, %v", info.Lost, err)
	}
}

// TestReadersAreToldThatTheDiskDoesNotAnswer makes reads fail. The error says that the store is
// unavailable, not that data is corrupt.
func TestReadersAreToldThatTheDiskDoesNotAnswer(t *testing.T) {
	t.Parallel()
	f := openFaulty(t, embedded.Options{SegmentBytes: 4 << 10, Maintenance: time.Hour})
	for range 30 {
		must(t, f.append(10))
	}
	f.refuse(memdisk.ReadAt, syscall.EIO)
	for range 2 {
		_, err := f.s.Read(t.Context(), persistence.Start(), persistence.End(), 10)
		away, ok := errors.AsType[*persistence.UnavailableError](err)
		if !ok || away.Reason != "io" || away.Store != "/store" || !errors.Is(err, syscall.EIO) {
			t.Errorf("a read that fails: %v", err)
		}
	}
	f.heal()
	f.check("with the disk back")
}

// A read that brings other bytes than the disk has, and the right ones when it is repeated, is no
// damage: readers are not sent past the block, and its events are not fetched again.
func TestAMisreadIsNoDamage(t *testing.T) {
	t.Parallel()
	f := openFaulty(t, embedded.Options{SegmentBytes: 4 << 10, Maintenance: time.Hour})
	for range 30 {
		must(t, f.append(10))
	}
	f.wrong.Store(true)
	f.check("with misreads")
	must(t, f.s.Fingerprints(t.Context(), persistence.Horizon{}, func(persistence.FingerprintBlock) bool { return true }))
	if told := f.lines(); len(told) > 0 {
		t.Errorf("the store says %q", told)
	}
}

// An append that does not end is seen from outside, and one that fails has ended.
func TestAnAppendThatDoesNotEndIsSeen(t *testing.T) {
	clock := clockwork.NewFakeClock()
	f := openFaulty(t, embedded.Options{Clock: clock, Maintenance: 100 * time.Hour})
	must(t, f.append(3))
	clock.Advance(time.Hour)
	if stream, since := f.store.Stuck(); stream != "" || since != 0 {
		t.Errorf("without an append, %q is stuck for %v", stream, since)
	}
	hangs, goes := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hang := func(op memdisk.Op) error {
		if op.Kind != memdisk.Sync {
			return nil
		}
		once.Do(func() { close(hangs); <-goes })
		return syscall.EIO
	}
	f.fault.Store(&hang)
	done := make(chan error)
	go func() { done <- f.append(3) }()
	<-hangs
	clock.Advance(3 * time.Minute)
	if stream, since := f.store.Stuck(); stream != "feed" || since != 3*time.Minute {
		t.Errorf("%q is stuck for %v", stream, since)
	}
	close(goes)
	if err := <-done; err == nil {
		t.Error("a failed sync was not told")
	}
	f.fault.Store(nil)
	if stream, since := f.store.Stuck(); stream != "" || since != 0 {
		t.Errorf("after the append, %q is stuck for %v", stream, since)
	}
}
