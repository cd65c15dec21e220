package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tempestd/internal/crashpoint"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// stagingDir is where a restore puts the files before it moves them into place.
const stagingDir = "restore.tmp"

// Restored is the result of a restore.
type Restored struct {
	DataDir string                   `json:"data_dir"`
	Made    time.Time                `json:"made"` // when the backup was made
	Streams []persistence.StreamInfo `json:"streams"`
	Files   int                      `json:"files"`
	Bytes   int64                    `json:"bytes"`
}

// Restore copies the backup in dir to dataDir, which must be missing or empty. After an error
// dataDir is missing or empty again. A Restore that was killed can be repeated: it leaves no store
// behind, or a complete one.
func Restore(ctx context.Context, dir, dataDir string, progress func(Restored)) (done Restored, err error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return done, err
	}
	made, moved, err := emptyDir(dataDir, m)
	if err != nil {
		return done, err
	}
	staging := filepath.Join(dataDir, stagingDir)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staging))
			for _, d := range made {
				_ = os.Remove(d) // fails if something else was put there meanwhile
			}
		}
	}()
	// The staging directory goes last: it shows that the others are of an interrupted restore.
	for _, path := range append(moved, staging) {
		if err := os.RemoveAll(path); err != nil {
			return done, err
		}
	}
	done = Restored{DataDir: dataDir, Made: m.Made, Streams: m.Streams}
	for _, f := range m.Files {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		if err := restoreFile(dir, staging, f); err != nil {
			return done, fmt.Errorf("restore %s: %w; nothing was restored", f.Path, err)
		}
		crashpoint.Pass(crashpoint.RestoreFile)
		done.Files++
		done.Bytes += f.Bytes
		progress(done)
	}
	if err := tryOut(ctx, filepath.Join(staging, storeDir), m); err != nil {
		return done, fmt.Errorf("open what was restored: %w; nothing was restored", err)
	}
	return done, putInPlace(staging, dataDir)
}

// emptyDir creates a directory, or checks that it is empty. It returns the directories that it
// created, innermost first, and what an interrupted restore has moved into place: all but the store.
func emptyDir(dir string, m *Manifest) (made, moved []string, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
			if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			made = append(made, d)
		}
		return made, nil, os.MkdirAll(dir, 0o750)
	case err != nil:
		return nil, nil, err
	}
	interrupted := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == stagingDir })
	for _, e := range entries {
		switch name := e.Name(); {
		case name == stagingDir:
		case interrupted && name != storeDir && m.hasDir(name):
			moved = append(moved, filepath.Join(dir, name))
		default:
			return nil, nil, fmt.Errorf("%s holds %q: a restore wants a data directory that is empty, or not there", dir, name)
		}
	}
	return nil, moved, nil
}

// hasDir reports whether the backup has files in a directory.
func (m *Manifest) hasDir(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return strings.HasPrefix(f.Path, name+"/") })
}

// restoreFile copies one file and compares it with its checksum.
func restoreFile(dir, staging string, f File) error {
	to := filepath.Join(staging, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	in, err := os.Open(filepath.Join(dir, filesDir, f.SHA256))
	if err != nil {
		return fmt.Errorf("the backup lacks it: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, hash), in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); n != f.Bytes || sum != f.SHA256 {
		return fmt.Errorf("the backup's copy is damaged: %d bytes with the SHA-256 %s, it had %d with %s", n, sum, f.Bytes, f.SHA256)
	}
	return nil
}

// tryOut opens the restored store, which rebuilds its state from the copy, and compares its streams
// with the manifest.
func tryOut(ctx context.Context, dir string, m *Manifest) (err error) {
	// Rebuilding the state from its copy is expected here, so the event is not reported.
	s, err := embedded.Open(ctx, dir, embedded.Options{Maintenance: 24 * time.Hour})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, want := range m.Streams {
		stream, err := s.Stream(ctx, want.Name)
		if err != nil {
			return err
		}
		got, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if got.Entries != want.Entries || !same(got.Oldest, want.Oldest) || !same(got.Newest, want.Newest) {
			return fmt.Errorf("stream %s has %d entries, %v to %v; the backup is of %d, %v to %v",
				want.Name, got.Entries, got.Oldest, got.Newest, want.Entries, want.Oldest, want.Newest)
		}
	}
	return nil
}

func same(a, b *persistence.EntryID) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// putInPlace moves the restored files to where a daemon looks for them, the store last. The restore
// is complete when the store is in place.
func putInPlace(staging, dataDir string) error {
	if err := syncTree(staging); err != nil {
		return err
	}
	entries, err := os.ReadDir(staging)
	if err != nil {
		return err
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != storeDir {
			names = append(names, e.Name())
		}
	}
	var moved []string
	for _, name := range append(names, storeDir) {
		to := filepath.Join(dataDir, name)
		if err := os.Rename(filepath.Join(staging, name), to); err != nil {
			for _, path := range moved {
				err = errors.Join(err, os.RemoveAll(path))
			}
			return fmt.Errorf("%w; nothing was restored", err)
		}
		moved = append(moved, to)
		crashpoint.Pass(crashpoint.RestoreMoved)
	}
	return errors.Join(os.Remove(staging), syncDir(dataDir))
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = syncDir(path)
		}
		return err
	})
}
