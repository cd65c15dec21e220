package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/sys/unix"

	"tempestd/internal/crashpoint"
	"tempestd/persistence"
	"tempestd/persistence/embedded/segment"
)

// Options say how a backup is made.
type Options struct {
	Version string    // of the program
	Now     time.Time // when it is made
	// Link makes hard links of sealed segments where the file system can. They take no time and no
	// space. They are the same bytes, so damage of the store's file also damages the backup's file.
	Link bool
	// BytesPerSecond is the largest number of bytes read in a second; 0 for no bound.
	BytesPerSecond int64
	Clock          clockwork.Clock // nil means the real one
	Progress       func(Report)
}

// Report is the result of a backup.
type Report struct {
	Dir     string                   `json:"dir"`
	Streams []persistence.StreamInfo `json:"streams"`
	Files   int                      `json:"files"` // files in the backup
	Bytes   int64                    `json:"bytes"`
	Copied  Count                    `json:"copied"` // written
	Linked  Count                    `json:"linked"` // new, shared with the store
	Kept    Count                    `json:"kept"`   // already in the backup
	Removed int                      `json:"removed"`
}

// Count is a number of files and their bytes.
type Count struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (c *Count) add(n int64) { c.Files, c.Bytes = c.Files+1, c.Bytes+n }

// Write makes a backup of src in dir, which is created if it is missing. A directory with other
// content is refused.
func Write(ctx context.Context, src *Source, dir string, opt Options) (Report, error) {
	if opt.Progress == nil {
		opt.Progress = func(Report) {}
	}
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	w := &writing{ctx: ctx, dir: dir, opt: opt, began: opt.Clock.Now(), report: Report{Dir: dir, Streams: src.Streams}, before: make(map[string]File), named: make(map[string]bool)}
	lock, err := w.begin()
	if err != nil {
		return w.report, err
	}
	defer lock.Close()
	m := &Manifest{Format: format, Made: opt.Now.UTC(), Version: opt.Version, Streams: src.Streams}
	for i := range src.Files {
		if err := ctx.Err(); err != nil {
			return w.report, context.Cause(ctx)
		}
		f, err := w.take(ctx, &src.Files[i])
		if err != nil {
			return w.report, fmt.Errorf("back up %s: %w", src.Files[i].Path, err)
		}
		m.Files = append(m.Files, f)
		crashpoint.Pass(crashpoint.BackupFile)
		w.named[f.SHA256] = true
		w.report.Files++
		w.report.Bytes += f.Bytes
		opt.Progress(w.report)
	}
	if err := syncDir(filepath.Join(dir, filesDir)); err != nil {
		return w.report, err
	}
	if err := m.write(dir); err != nil {
		return w.report, fmt.Errorf("write the manifest: %w", err)
	}
	crashpoint.Pass(crashpoint.BackupManifest)
	return w.report, w.tidy()
}

// writing is a backup in progress.
type writing struct {
	ctx    context.Context
	began  time.Time
	read   int64
	dir    string
	opt    Options
	report Report
	before map[string]File // files of the existing backup, by path
	named  map[string]bool // checksums of the files of the new backup
}

// begin creates the directory, or checks and locks an existing one.
func (w *writing) begin() (*os.File, error) {
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch e.Name() {
		case manifestFile, manifestFile + temporary, filesDir, lockFile:
		default:
			return nil, fmt.Errorf("%s holds %q, which is no part of a backup; accepted: a directory that is empty, or has a backup", w.dir, e.Name())
		}
	}
	lock, err := os.OpenFile(filepath.Join(w.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process makes a backup in %s", w.dir), lock.Close())
	}
	m, err := ReadManifest(w.dir)
	if err == nil {
		for _, f := range m.Files {
			w.before[f.Path] = f
		}
	} else if !errors.Is(err, ErrNoBackup) {
		return nil, errors.Join(err, lock.Close())
	}
	if err := os.MkdirAll(filepath.Join(w.dir, filesDir), 0o750); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (w *writing) stored(sum string) string { return filepath.Join(w.dir, filesDir, sum) }

// take puts one file into the backup.
func (w *writing) take(ctx context.Context, f *SourceFile) (File, error) {
	if f.From == "" {
		return w.put(f.Path, io.NopCloser(bytes.NewReader(f.Content)), int64(len(f.Content)))
	}
	from, err := os.Open(f.From)
	if err != nil {
		return File{}, err
	}
	defer from.Close()
	if !f.Sealed {
		return w.put(f.Path, from, f.Bytes)
	}
	info, err := from.Stat() // it may have been packed since the snapshot
	if err != nil {
		return File{}, err
	}
	if old, ok := w.before[f.Path]; ok && old.Bytes == info.Size() && w.same(from, old) {
		w.report.Kept.add(old.Bytes)
		return old, nil
	}
	if w.opt.Link {
		if done, err := w.link(f.Path, f.From, info); err == nil {
			return done, nil
		}
	}
	return w.put(f.Path, from, info.Size())
}

// same reports whether a sealed segment is the one in the backup: its header and its trailer are
// the same. The trailer has the link of the last block, which depends on all blocks.
func (w *writing) same(from *os.File, old File) bool {
	have, err := os.Open(w.stored(old.SHA256))
	if err != nil {
		return false
	}
	defer have.Close()
	a, err := ends(from, old.Bytes)
	if err != nil {
		return false
	}
	b, err := ends(have, old.Bytes)
	info, statErr := have.Stat()
	return err == nil && statErr == nil && info.Size() == old.Bytes && bytes.Equal(a, b)
}

func ends(f *os.File, size int64) ([]byte, error) {
	b := make([]byte, segment.HeaderLen+segment.TrailerLen)
	if size < int64(len(b)) {
		return nil, io.ErrUnexpectedEOF
	}
	if _, err := f.ReadAt(b[:segment.HeaderLen], 0); err != nil {
		return nil, err
	}
	_, err := f.ReadAt(b[segment.HeaderLen:], size-segment.TrailerLen)
	return b, err
}

// link puts a sealed segment into the backup as a hard link.
func (w *writing) link(path, from string, info fs.FileInfo) (File, error) {
	linked := w.stored("link") + temporary
	if err := os.Remove(linked); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return File{}, err
	}
	if err := os.Link(from, linked); err != nil {
		return File{}, err
	}
	f, err := os.Open(linked)
	if err != nil {
		return File{}, errors.Join(err, os.Remove(linked))
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil || !os.SameFile(now, info) {
		return File{}, errors.Join(errors.New("it was replaced meanwhile"), os.Remove(linked))
	}
	hash := sha256.New()
	n, err := io.Copy(hash, w.paced(f))
	done := File{Path: path, Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}
	if err == nil {
		err = os.Rename(linked, w.stored(done.SHA256))
	}
	if err != nil {
		return File{}, errors.Join(err, os.Remove(linked))
	}
	w.report.Linked.add(n)
	return done, nil
}

// paced returns a reader that reads at most at the configured rate.
func (w *writing) paced(r io.Reader) io.Reader { return &pacedReader{w, r} }

type pacedReader struct {
	w *writing
	r io.Reader
}

// Read implements io.Reader.
func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	w := p.w
	w.read += int64(n)
	wait := time.Duration(0)
	if rate := w.opt.BytesPerSecond; rate > 0 {
		wait = time.Duration(float64(w.read)/float64(rate)*float64(time.Second)) - w.opt.Clock.Since(w.began)
	}
	if wait <= 0 {
		return n, cmp.Or(err, context.Cause(w.ctx))
	}
	select {
	case <-w.ctx.Done():
		return n, context.Cause(w.ctx)
	case <-w.opt.Clock.After(wait):
		return n, err
	}
}

// put copies size bytes.
func (w *writing) put(path string, from io.Reader, size int64) (File, error) {
	copied := w.stored("copy") + temporary
	to, err := os.OpenFile(copied, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return File{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(w.paced(from), size))
	if err == nil && n < size {
		err = fmt.Errorf("it has %d bytes, %d were to be copied", n, size)
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return File{}, errors.Join(err, os.Remove(copied))
	}
	done := File{Path: path, Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}
	if info, err := os.Stat(w.stored(done.SHA256)); err == nil && info.Size() == n {
		w.report.Kept.add(n)
		return done, os.Remove(copied)
	}
	w.report.Copied.add(n)
	return done, os.Rename(copied, w.stored(done.SHA256))
}

// tidy removes the files that are no longer in the manifest.
func (w *writing) tidy() error {
	entries, err := os.ReadDir(filepath.Join(w.dir, filesDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if w.named[e.Name()] {
			continue
		}
		if err := os.Remove(w.stored(e.Name())); err != nil {
			return fmt.Errorf("remove what is no part of the backup any more: %w", err)
		}
		if !strings.HasSuffix(e.Name(), temporary) {
			w.report.Removed++
		}
	}
	return nil
}
