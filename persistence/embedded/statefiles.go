package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"

	"tempestd/internal/beside"
	"tempestd/persistence"
)

// Badger trusts its files. With some damaged files it panics, from others it returns wrong data,
// and if the list of its files is missing it silently begins with an empty database. So the files
// are checked before Badger opens them. After a clean stop their sums must be the ones that were
// recorded then. After a kill the tables must match their own checksums.

// sumsFile has a line for each of the database's files: the XXH64, the size and the name.
const sumsFile = "state.sums"

// mayOpen returns an error if the user of this process may not open a file of the state. Such a file
// is not damaged: nothing is set aside for it.
func (t *state) mayOpen() error {
	if !t.own {
		return nil
	}
	paths := []string{t.store.path(copyFile), t.store.path(sumsFile), t.store.path(stateMarkFile)}
	files, err := os.ReadDir(t.dir)
	for _, f := range files {
		paths = append(paths, filepath.Join(t.dir, f.Name()))
	}
	for _, path := range paths {
		if errors.Is(err, fs.ErrPermission) {
			break
		}
		var f *os.File
		if f, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			_ = f.Close()
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("open the state: %w", err)
	}
	return nil
}

// checkFiles returns the fault of the database's files.
func (t *state) checkFiles() error {
	if !t.own {
		return nil
	}
	path := t.store.path(sumsFile)
	noted, err := os.ReadFile(path)
	if err == nil {
		if err := t.compareSums(string(noted)); err != nil {
			return err
		}
		return os.Remove(path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.checkTables()
}

func (t *state) compareSums(noted string) error {
	now, err := t.sums()
	if err != nil {
		return err
	}
	if now == noted {
		return nil
	}
	for line := range strings.Lines(noted) {
		if !strings.Contains(now, line) {
			name := line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:]
			return fmt.Errorf("the file %s is not as it was left", strings.TrimSpace(name))
		}
	}
	return errors.New("there are other files than were left")
}

// sums returns the present content for the file of sums.
func (t *state) sums() (string, error) {
	files, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var b strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(t.dir, f.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%016x %d %s\n", xxhash.Sum64(content), len(content), f.Name())
	}
	return b.String(), nil
}

// checkTables compares the tables with their own checksums. It also checks that their list exists.
func (t *state) checkTables() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a table of the database is damaged: %v", r)
		}
	}()
	tables, _ := filepath.Glob(filepath.Join(t.dir, "*.sst"))
	logs, _ := filepath.Glob(filepath.Join(t.dir, "*.mem"))
	if _, err := os.Stat(filepath.Join(t.dir, badger.ManifestFilename)); errors.Is(err, fs.ErrNotExist) {
		if len(tables)+len(logs) > 0 {
			return errors.New("the database's list of its tables is missing")
		}
		return nil
	}
	if err := t.checkManifest(); err != nil {
		return err
	}
	for _, path := range tables {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(b) < 64 {
			return fmt.Errorf("a table of the database has %d bytes", len(b))
		}
		opt := table.Options{ChkMode: options.OnTableAndBlockRead, BlockSize: 4 << 10, BloomFalsePositive: 0.01}
		one, err := table.OpenInMemoryTable(b, 1, &opt)
		if err != nil {
			return fmt.Errorf("a table of the database is damaged: %w", err)
		}
		if err := one.VerifyChecksum(); err != nil {
			return fmt.Errorf("a table of the database is damaged: %w", err)
		}
	}
	return nil
}

// checkManifest reads the list of tables like Badger, and checks that the listed tables exist.
func (t *state) checkManifest() error {
	f, err := os.Open(filepath.Join(t.dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	defer f.Close()
	list, end, err := badger.ReplayManifestFile(f, 0, badgerOptions(t.dir, nil))
	if err != nil {
		return fmt.Errorf("the database's list of its tables is damaged: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if end != info.Size() {
		return fmt.Errorf("the database's list of its tables ends at %d of %d bytes", end, info.Size())
	}
	for id := range list.Tables {
		if _, err := os.Stat(filepath.Join(t.dir, fmt.Sprintf("%06d.sst", id))); err != nil {
			return fmt.Errorf("a table of the database is missing: %w", err)
		}
	}
	return nil
}

// setFilesAside moves the database aside.
func (t *state) setFilesAside() (string, error) {
	if err := errors.Join(ignoreNotExist(os.Remove(t.store.path(sumsFile)))); err != nil {
		return "", t.store.failure(err)
	}
	if _, err := os.Stat(t.dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return t.store.setAside(t.dir)
}

// The disk space of the database.
const (
	reserveFile = "state.reserve"
	// reserveBytes are kept free, so that the database can be opened and closed on a full disk.
	reserveBytes = 1 << 20
	// stateNeeds is the space that opening may need: the logs become tables, and a new log begins.
	stateNeeds = 1536 << 10
	// stateEnds is the space that closing may need: the log becomes a table.
	stateEnds = 1 << 20
	// memReserve is the largest size of a write-ahead log: the size of its table, and what one
	// change may write beyond it.
	memReserve = memTableSize + 128<<10
)

// stateSpace allocates the disk blocks of Badger's open files before Badger writes to them. Badger
// makes its logs as sparse files and maps them. If something else filled the disk, the write would
// be a SIGBUS. Badger cuts off the unused part of a file when it is done with it.
type stateSpace struct {
	mu   sync.Mutex
	mem  numbered
	vlog numbered
}

// makeRoom gives up the reserve if the disk is full. It returns an error if the database cannot be
// opened.
func (s *stateSpace) makeRoom(t *state) error {
	if !t.own {
		return nil
	}
	return s.room(t, stateNeeds)
}

func (s *stateSpace) room(t *state, need uint64) error {
	for range 2 {
		free, err := t.store.space.read(t.store.dir)
		if err != nil {
			return t.store.failure(err)
		}
		if free >= need {
			return nil
		}
		if os.Remove(t.store.path(reserveFile)) != nil {
			return &persistence.NoSpaceError{Dir: t.store.dir, Free: free, Need: need}
		}
	}
	free, _ := t.store.space.read(t.store.dir)
	return &persistence.NoSpaceError{Dir: t.store.dir, Free: free, Need: need}
}

// begin finds the files that the database writes to, allocates their space, and makes the reserve
// again.
func (s *stateSpace) begin(t *state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := os.ReadDir(t.dir)
	if err != nil {
		return t.store.failure(err)
	}
	s.mem = numbered{state: t, name: "%05d.mem", size: memReserve}
	s.vlog = numbered{state: t, name: "%06d.vlog", size: 2 * vlogFileSize}
	s.mem.find(files)
	s.vlog.find(files)
	if err := s.mem.reserve(); err != nil {
		return t.store.failure(err)
	}
	if t.store.space.spare() >= reserveBytes {
		// The reserve is best effort: without it, opening and closing the database on a full disk
		// may fail.
		_ = allocate(t.store.path(reserveFile), os.O_RDWR|os.O_CREATE, reserveBytes)
	}
	return nil
}

// ensure allocates the space of the files that appeared since the last call. If there are none, it
// costs a system call.
func (s *stateSpace) ensure(size int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mem.reserve(); err != nil {
		return err
	}
	if size >= valueThreshold {
		return s.vlog.reserve()
	}
	return nil
}

// probe returns the reason why the directory accepts no write.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("?")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// closeTime bounds the closing of the database. The database repeats a failing write for ever. A busy
// disk takes seconds.
const closeTime = 10 * time.Second

// end closes the database. If the disk has no space for that, or accepts no write, the database is
// left as it is: all of its data is in its log and synced, and the process ends.
func (s *stateSpace) end(t *state, db *badger.DB) error {
	if !t.own {
		return db.Close()
	}
	if s.room(t, stateEnds) != nil || probe(t.dir) != nil {
		return nil
	}
	closed := make(chan error, 1)
	crew := beside.Crew{Tell: func(_ string, p *beside.Panic) { closed <- p.Traced() }}
	crew.Start("store.close", func() { closed <- db.Close() }, nil)
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("close the state: %w", err)
		}
	case <-t.store.opt.Clock.After(closeTime):
		return fmt.Errorf("close the state: the disk does not take it within %v; all of it is in its log", closeTime)
	}
	sums, err := t.sums()
	if err == nil {
		// Without this file, the tables are checked when the database is opened.
		_ = os.WriteFile(t.store.path(sumsFile), []byte(sums), 0o640)
	}
	return nil
}

// numbered is a series of files with consecutive, increasing numbers.
type numbered struct {
	state  *state
	name   string
	size   int64  // bytes to allocate
	number int    // of the next file
	next   string // the path of the next file
}

func (n *numbered) advance(to int) {
	n.number, n.next = to, filepath.Join(n.state.dir, fmt.Sprintf(n.name, to))
}

// find makes the newest of the files the next one.
func (n *numbered) find(files []os.DirEntry) {
	newest := 0
	for _, f := range files {
		var number int
		if _, err := fmt.Sscanf(f.Name(), n.name, &number); err == nil {
			newest = max(newest, number)
		}
	}
	n.advance(newest)
}

func (n *numbered) reserve() error {
	for {
		if _, err := os.Stat(n.next); err != nil {
			return ignoreNotExist(err)
		}
		if err := allocate(n.next, os.O_RDWR, n.size); err != nil {
			return fmt.Errorf("reserve disk space: %w", err)
		}
		n.advance(n.number + 1)
	}
}

// allocate allocates the disk blocks of the first size bytes of a file. The file keeps its length
// and its content.
func allocate(path string, flags int, size int64) error {
	f, err := os.OpenFile(path, flags, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(keepBlocks(f, size), f.Close())
}
