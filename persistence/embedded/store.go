package embedded

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
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// Options configure a store. The zero value is a store that syncs every append and reports no
// events.
type Options struct {
	// SyncInterval is how often the log is synced to disk. With 0, every append is synced before it
	// is acknowledged. Otherwise a power cut may lose the appends of the last interval together
	// with their checkpoints. A crash of the process loses nothing.
	SyncInterval time.Duration
	// MinFree is how many bytes of the disk must stay free. With less, appends are refused with a
	// *persistence.NoSpaceError, and no space is allocated ahead. 0 means 256 MiB.
	MinFree uint64
	// Maintenance is how often retention and packing run in the background. 0 means 30 s.
	Maintenance time.Duration
	// Clock drives tails, retention and maintenance. nil means the real one.
	Clock clockwork.Clock
	// Logger gets Badger's own messages. nil discards them.
	Logger *slog.Logger
	// OnNotice is called with every notice, from the goroutine in which it happens. It must not
	// block and must not call the store.
	OnNotice func(persistence.Notice)
	// FreeSpace returns how many bytes are free on the disk of dir. nil asks the file system. Tests
	// replace it.
	FreeSpace func(dir string) (uint64, error)
	// Files is the file system of the streams. nil means the operating system's. With another one
	// the state beside the streams is kept in memory, except for its copy.
	Files disk.FS
	// SegmentBytes is an upper bound of the size of segments, in addition to the bound that follows
	// from the retention. 0 means 64 MiB.
	SegmentBytes int64

	lock *os.File // of the directory, if the caller holds it; closed with the store
}

const (
	defaultMinFree      = 256 << 20
	defaultMaintenance  = 30 * time.Second
	defaultSegmentBytes = 64 << 20
)

// Store is a persistence.Store in one directory of this machine. It is safe for concurrent use.
type Store struct {
	dir     string
	opt     Options
	lock    *os.File
	files   disk.FS
	clock   clockwork.Clock
	emit    func(persistence.Notice)
	space   *spaceGuard
	sync    bool // sync every append
	state   *state
	heads   headCache
	open    openFiles
	indexes indexes
	buffers buffers
	dec     *segment.Decoder

	life   sync.Mutex     // guards closed and users
	closed chan struct{}  // closed when the store is closed
	users  sync.WaitGroup // running calls; closing waits for them
	loops  sync.WaitGroup
	stop   context.CancelFunc
	// kicked starts the work that appends leave to the background: unlinking files, allocating
	// space ahead.
	kicked chan struct{}

	consumers sync.Mutex // one change of a named consumer at a time
	ledgers   sync.Mutex // one change of a ledger of gaps at a time

	mu      sync.Mutex
	streams map[string]*stream
	// deleting names the deleted streams of which something is left.
	deleting map[string]bool
	lost     []persistence.Truncation

	packs   chan struct{} // starts packing
	packing sync.Mutex    // one packing at a time

	snapshots   atomic.Int64 // in use
	maintaining sync.Mutex   // one trim at a time in the whole store
}

var (
	_ persistence.Store         = (*Store)(nil)
	_ persistence.ConsumerStore = (*Store)(nil)
)

// Open opens the store in dir and creates it if it is missing. It first repairs work that the last
// process left unfinished. If another process has the store open, the error matches
// persistence.ErrLocked and names the directory. Open succeeds on a full disk: the stored entries
// can be read.
func Open(ctx context.Context, dir string, opt Options) (*Store, error) {
	setDefaults(&opt)
	s := &Store{
		dir: dir, opt: opt, files: opt.Files, clock: opt.Clock, emit: opt.OnNotice,
		space:   &spaceGuard{dir: dir, minFree: opt.MinFree, read: opt.FreeSpace, emit: opt.OnNotice},
		sync:    opt.SyncInterval <= 0,
		closed:  make(chan struct{}),
		kicked:  make(chan struct{}, 1),
		packs:   make(chan struct{}, 1),
		streams: make(map[string]*stream), deleting: make(map[string]bool),
	}
	own := s.files == nil
	if own {
		s.files = disk.OS()
	}
	if opt.FreeSpace == nil {
		s.space.read = s.files.Free
	}
	if err := s.files.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	var err error
	if s.lock = opt.lock; own && s.lock == nil {
		if s.lock, err = lockDir(ctx, dir); err != nil {
			return nil, err
		}
	}
	if err := s.begin(ctx, own); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	loopCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.loops.Go(func() { s.every(loopCtx, opt.Maintenance, s.maintain) })
	s.loops.Go(func() { s.follow(loopCtx) })
	s.loops.Go(func() { s.packLoop(loopCtx) })
	if !s.sync {
		s.loops.Go(func() { s.every(loopCtx, opt.SyncInterval, s.syncLog) })
	}
	return s, nil
}

func setDefaults(opt *Options) {
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	if opt.OnNotice == nil {
		opt.OnNotice = func(persistence.Notice) {}
	}
	if opt.Maintenance <= 0 {
		opt.Maintenance = defaultMaintenance
	}
	if opt.MinFree == 0 {
		opt.MinFree = defaultMinFree
	}
	if opt.SegmentBytes <= 0 {
		opt.SegmentBytes = defaultSegmentBytes
	}
}

// begin opens the files in the directory.
func (s *Store) begin(ctx context.Context, own bool) error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	for _, dir := range []string{streamsDir, marksDir} {
		dir = filepath.Join(s.dir, dir)
		if err := s.clearFile("", dir); err != nil {
			return err
		}
		if err := s.files.MakeDir(dir); err != nil {
			return fmt.Errorf("make the store's directory: %w", err)
		}
	}
	var err error
	if s.dec, err = segment.NewDecoder(); err != nil {
		return err
	}
	s.state = newState(s, own)
	if err := s.state.open(); err != nil && !persistence.Temporary(err) {
		return err
	}
	return s.loadStreams(ctx)
}

// every calls do at each interval until the store is closed.
func (s *Store) every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := s.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			s.safely(ctx, do)
		}
	}
}

// safely runs a round of background work. A panic in it is reported like any other failure of
// maintenance, and ends nothing else.
func (s *Store) safely(ctx context.Context, do func(context.Context)) {
	beside.Do("store.maintain", nil, func() { do(ctx) }, func(p *beside.Panic) { s.maintenanceFailed(ctx, "", p.Traced()) })
}

// use keeps the store open until release is called.
func (s *Store) use() (release func(), err error) {
	s.life.Lock()
	defer s.life.Unlock()
	select {
	case <-s.closed:
		return nil, persistence.ErrStoreClosed
	default:
		s.users.Add(1)
		return s.users.Done, nil
	}
}

// OpenStream implements persistence.Store.
func (s *Store) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	if err := persistence.CheckName(name); err != nil {
		return nil, err
	}
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleting[name] {
		if err := s.finishDelete(name); err != nil {
			return nil, s.failure(fmt.Errorf("remove what is left of the deleted stream %s: %w", name, err))
		}
	}
	st, ok := s.streams[name]
	if !ok {
		if st, err = s.createStream(name); err != nil {
			return nil, err
		}
		s.streams[name] = st
	}
	st.retention.Store(&opt.Retention)
	return st, nil
}

// Stream implements persistence.Store.
func (s *Store) Stream(_ context.Context, name string) (persistence.Stream, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, ok := s.streams[name]; ok {
		return st, nil
	}
	return nil, noStream(name)
}

// Streams implements persistence.Store.
func (s *Store) Streams(ctx context.Context) ([]persistence.StreamInfo, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	infos := make([]persistence.StreamInfo, 0)
	for _, st := range s.all() {
		info, err := st.Info(ctx)
		if errors.Is(err, persistence.ErrNoStream) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// all returns every stream, sorted by name.
func (s *Store) all() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*stream, 0, len(s.streams))
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		all = append(all, s.streams[name])
	}
	return all
}

// Truncations returns the streams that had lost their newest entries when the store was opened.
func (s *Store) Truncations() []persistence.Truncation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lost)
}

// TailStream implements persistence.Store.
func (s *Store) TailStream(ctx context.Context, stream, after string, block time.Duration, limit int) (persistence.Page, error) {
	return persistence.TailByName(ctx, s, stream, after, block, limit)
}

// ReadStream implements persistence.Store.
func (s *Store) ReadStream(ctx context.Context, stream, from, to string, limit int) (persistence.Page, error) {
	return persistence.ReadByName(ctx, s, stream, from, to, limit)
}

// Health implements persistence.Store. It checks the disk, so it may notice free space before an
// append does.
func (s *Store) Health() error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	for _, st := range s.all() {
		if fault := st.fault.Load(); fault != nil {
			return *fault
		}
	}
	return s.space.check(0)
}

// failure turns an error of the file system into an error that callers know.
func (s *Store) failure(err error) error {
	if err == nil {
		return nil
	}
	if isFull(err) {
		free, _ := s.space.read(s.dir)
		return &persistence.NoSpaceError{Dir: s.dir, Free: free, Need: max(s.opt.MinFree, free+1)}
	}
	return &persistence.UnavailableError{Store: s.dir, Reason: persistence.ReasonIO, Err: err}
}

// Close implements persistence.Store. It waits for running calls; tails return at once. It needs no
// disk space.
func (s *Store) Close() error {
	s.life.Lock()
	select {
	case <-s.closed:
		s.life.Unlock()
		return nil
	default:
		close(s.closed)
	}
	s.life.Unlock()
	s.stop()
	s.loops.Wait()
	s.users.Wait()
	if !s.sync {
		s.syncLog(context.Background())
	}
	s.saveRegister(true)
	_ = s.state.copyOut() // without it the copy, used when the state is lost, is a little older
	return s.closeFiles()
}

// closeFiles closes everything, the lock last.
func (s *Store) closeFiles() error {
	var errs []error
	for _, st := range s.all() {
		errs = append(errs, st.closeFiles())
	}
	if s.state != nil {
		errs = append(errs, s.state.close())
	}
	if s.dec != nil {
		s.dec.Close()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
