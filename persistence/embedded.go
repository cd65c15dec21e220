package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/jonboulle/clockwork"
)

// EmbeddedOptions configure an embedded store. The zero value is a store that syncs every append and tells nobody anything.
type EmbeddedOptions struct {
	// SyncInterval is how often the log is synced to disk. 0 syncs it before an append is acknowledged; otherwise a power cut,
	// though no crash of the process, may lose the appends of the last interval, checkpoints and all.
	SyncInterval time.Duration
	// MinFree is how many bytes of disk must stay free: below it appends are refused with a *NoSpaceError. A quarter of it is kept for
	// what makes room, and 40 MiB are reserved at a time for what is written next, so less than 64 MiB makes little sense. 0 means 256 MiB.
	MinFree uint64
	// Maintenance is how often retention, merging and the return of disk space run by themselves. 0 means 30 s.
	Maintenance time.Duration
	// Clock drives tails, retention and maintenance. nil means the real one.
	Clock clockwork.Clock
	// Logger gets the storage engine's own messages. nil discards them.
	Logger *slog.Logger
	// OnEvent is told what happens, by whichever goroutine it happens in. It must not block nor call the store.
	OnEvent func(Event)
	// FreeSpace reads how many bytes are free where dir is. nil asks the file system; tests say what they like.
	FreeSpace func(dir string) (uint64, error)
}

const (
	defaultMinFree     = 256 << 20
	defaultMaintenance = 30 * time.Second
	layoutVersion      = "1"
)

// Embedded is a Store in one directory of this machine. It is safe for concurrent use.
type Embedded struct {
	dir      string
	lock     *os.File
	db       *badger.DB
	clock    clockwork.Clock
	emit     func(Event)
	space    *spaceGuard
	reserved reservation
	sync     bool // every append
	failed   atomic.Pointer[storeFailure]
	heads    heads

	// gate is held shared by whoever writes, and whole while Badger cannot take writes (reclaim.go), so that those wait instead of failing.
	gate   sync.RWMutex
	life   sync.Mutex     // of closed and users
	closed chan struct{}  // closed when the store is
	users  sync.WaitGroup // calls inside, for which closing waits
	loops  sync.WaitGroup
	stop   context.CancelFunc

	consumers sync.Mutex // one change of a named consumer at a time

	mu      sync.Mutex
	streams map[string]*embeddedStream
	lost    []Truncation

	resident atomic.Int64  // bytes touched since the mapped pages were released
	touched  chan struct{} // asks for their release

	maintaining sync.Mutex   // one trim, merge or reclaim at a time, in the whole store
	garbage     atomic.Int64 // bytes deleted since space was last given back
}

var (
	_ Store         = (*Embedded)(nil)
	_ ConsumerStore = (*Embedded)(nil)
)

// storeFailure is why the store takes no more writes.
type storeFailure struct{ err error }

// OpenEmbedded opens the store in dir, making it when missing. What the last process left half done is repaired first. Another opener
// gets an error that matches ErrLocked and names the directory.
func OpenEmbedded(ctx context.Context, dir string, opt EmbeddedOptions) (*Embedded, error) {
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	if opt.OnEvent == nil {
		opt.OnEvent = func(Event) {}
	}
	if opt.Maintenance <= 0 {
		opt.Maintenance = defaultMaintenance
	}
	if opt.MinFree == 0 {
		opt.MinFree = defaultMinFree
	}
	if opt.FreeSpace == nil {
		opt.FreeSpace = freeSpace
	}
	if err := os.MkdirAll(filepath.Join(dir, markDir), 0o755); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	e := &Embedded{
		dir:     dir,
		clock:   opt.Clock,
		emit:    opt.OnEvent,
		space:   &spaceGuard{dir: dir, minFree: opt.MinFree, read: opt.FreeSpace, emit: opt.OnEvent},
		sync:    opt.SyncInterval <= 0,
		closed:  make(chan struct{}),
		touched: make(chan struct{}, 1),
		streams: make(map[string]*embeddedStream),
	}
	// Badger's recovery writes and maps files: on a full disk that kills the process, so it is not even begun.
	if err := e.space.checkReserve(0); err != nil {
		return nil, err
	}
	var err error
	if e.lock, err = lockDir(ctx, dir); err != nil {
		return nil, err
	}
	e.db, err = badger.Open(badgerOptions(e.badgerDir(), e.sync, newBadgerLog(opt.Logger, e.fail)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), e.lock.Close())
	}
	if err := e.begin(ctx); err != nil {
		return nil, errors.Join(err, e.closeFiles())
	}
	loopCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.loops.Go(func() { e.every(loopCtx, opt.Maintenance, e.maintain) })
	e.loops.Go(func() { e.releasePages(loopCtx) })
	if !e.sync {
		e.loops.Go(func() { e.every(loopCtx, opt.SyncInterval, e.syncLog) })
	}
	return e, nil
}

// badgerDir is the database's own directory.
func (e *Embedded) badgerDir() string { return filepath.Join(e.dir, "badger") }

// begin makes an opened database this store's.
func (e *Embedded) begin(ctx context.Context) error {
	if err := e.reserved.begin(e.badgerDir()); err != nil {
		return err
	}
	if err := e.checkLayout(); err != nil {
		return err
	}
	return e.loadStreams(ctx)
}

// checkLayout refuses a store that another version laid out differently, and marks a new one.
func (e *Embedded) checkLayout() error {
	return e.db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(formatKey))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return txn.Set([]byte(formatKey), []byte(layoutVersion))
		} else if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if string(v) != layoutVersion {
				return fmt.Errorf("%s has layout version %.20q; this version reads %q", e.dir, v, layoutVersion)
			}
			return nil
		})
	})
}

// every calls do at each interval until the store closes.
func (e *Embedded) every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := e.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			do(ctx)
		}
	}
}

// use keeps the database open until release is called.
func (e *Embedded) use() (release func(), err error) {
	e.life.Lock()
	defer e.life.Unlock()
	select {
	case <-e.closed:
		return nil, ErrStoreClosed
	default:
		e.users.Add(1)
		return e.users.Done, nil
	}
}

// update runs change in one transaction. A transaction that fails to commit may still turn out durable after a restart, so the
// store takes no further writes: what is stored must never be a guess (I2).
func (e *Embedded) update(change func(*badger.Txn) error) error {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if f := e.failed.Load(); f != nil {
		return f.err
	}
	if err := e.reserved.ensure(); errors.Is(err, syscall.ENOSPC) {
		free, _ := e.space.read(e.dir)
		return &NoSpaceError{Dir: e.dir, Free: free, Need: vlogReserve}
	} else if err != nil {
		return err
	}
	txn := e.db.NewTransaction(true)
	defer txn.Discard()
	if err := change(txn); err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		e.fail(err)
	}
	// Badger only logs that a sync failed; its log adapter reports that here.
	if f := e.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

// fail stops all writes until the store is opened again.
func (e *Embedded) fail(err error) {
	e.failed.CompareAndSwap(nil, &storeFailure{fmt.Errorf("%w: %w", ErrStoreFailed, err)})
}

// OpenStream implements Store.
func (e *Embedded) OpenStream(ctx context.Context, name string, opt StreamOptions) (Stream, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	release, err := e.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.streams[name]
	if !ok {
		if s, err = e.createStream(name); err != nil {
			return nil, err
		}
		e.streams[name] = s
	}
	s.retention.Store(&opt.Retention)
	return s, nil
}

// Stream implements Store.
func (e *Embedded) Stream(_ context.Context, name string) (Stream, error) {
	release, err := e.use()
	if err != nil {
		return nil, err
	}
	defer release()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, ok := e.streams[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("%w: %.80q", ErrNoStream, name)
}

// Streams implements Store.
func (e *Embedded) Streams(ctx context.Context) ([]StreamInfo, error) {
	release, err := e.use()
	if err != nil {
		return nil, err
	}
	defer release()
	infos := make([]StreamInfo, 0)
	for _, s := range e.all() {
		info, err := s.Info(ctx)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// all is every stream, by name.
func (e *Embedded) all() []*embeddedStream {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*embeddedStream, 0, len(e.streams))
	for _, name := range slices.Sorted(maps.Keys(e.streams)) {
		all = append(all, e.streams[name])
	}
	return all
}

// Truncations are the streams that were found shorter than they had been when the store was opened.
func (e *Embedded) Truncations() []Truncation { return slices.Clone(e.lost) }

// Health implements Store. It looks at the disk, so it notices that there is room again before an append does.
func (e *Embedded) Health() error {
	release, err := e.use()
	if err != nil {
		return err
	}
	defer release()
	if f := e.failed.Load(); f != nil {
		return f.err
	}
	return e.space.check(0)
}

// Close implements Store. It waits for the calls inside; tails leave at once.
func (e *Embedded) Close() error {
	e.life.Lock()
	select {
	case <-e.closed:
		e.life.Unlock()
		return nil
	default:
		close(e.closed)
	}
	e.life.Unlock()
	e.stop()
	e.loops.Wait()
	e.users.Wait()
	if !e.sync {
		e.syncLog(context.Background())
	}
	return e.closeFiles()
}

// closeFiles closes the database, the marks, which must not lead it, and the lock.
func (e *Embedded) closeFiles() error {
	errs := []error{e.db.Close()}
	for _, s := range e.streams {
		errs = append(errs, s.mark.close())
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
