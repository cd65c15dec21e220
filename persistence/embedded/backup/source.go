package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// Source is the files of a backup.
type Source struct {
	Streams []persistence.StreamInfo
	Files   []SourceFile
}

// SourceFile is one file of a data directory.
type SourceFile struct {
	Path    string // relative to the data directory, with slashes
	From    string // where it is; "" if Content is its whole content
	Bytes   int64  // the bytes to back up; a sealed file is always taken whole
	Sealed  bool
	Content []byte
}

// The directories inside a data directory.
const (
	storeDir   = "store"
	filtersDir = "filters"
)

// FromSnapshot returns the files of a snapshot from a daemon on this machine, and the files beside
// its store. It returns an error if the daemon's files cannot be read here.
func FromSnapshot(snapshot *persistence.Snapshot) (*Source, error) {
	var lock unix.Stat_t
	path := filepath.Join(snapshot.Dir, lockFile)
	if err := unix.Stat(path, &lock); err != nil {
		return nil, fmt.Errorf("the daemon's files cannot be read from here: %s: %w; run the command on the daemon's machine, as its user or as root", path, err)
	}
	if lock.Ino != snapshot.ID {
		return nil, fmt.Errorf("%s is not the store of the daemon that was asked; run the command on the daemon's machine", snapshot.Dir)
	}
	return sourceOf(snapshot)
}

func sourceOf(snapshot *persistence.Snapshot) (*Source, error) {
	src := &Source{Streams: snapshot.Streams}
	filters, err := beside(filepath.Join(filepath.Dir(snapshot.Dir), filtersDir))
	if err != nil {
		return nil, err
	}
	src.Files = filters
	for _, f := range snapshot.Files {
		file := SourceFile{Path: path.Join(storeDir, f.Path), Bytes: f.Bytes, Sealed: f.Sealed, Content: f.Content}
		if f.Content == nil {
			file.From = filepath.Join(snapshot.Dir, filepath.FromSlash(f.Path))
		}
		src.Files = append(src.Files, file)
	}
	return src, nil
}

// beside reads the small files in a directory beside the store.
func beside(dir string) (files []SourceFile, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, SourceFile{Path: path.Join(filepath.Base(dir), e.Name()), Bytes: int64(len(b)), Content: b})
	}
	return files, err
}

// Offline makes a backup of the store in dataDir. No daemon may have the store open: then the error
// matches persistence.ErrLocked. Offline opens and closes the store like a daemon. tell gets the
// events of the store.
func Offline(ctx context.Context, dataDir, dir string, opt Options, tell func(persistence.Notice)) (report Report, err error) {
	store := filepath.Join(dataDir, storeDir)
	if _, err := os.Stat(filepath.Join(store, "streams")); err != nil {
		return report, fmt.Errorf("there is no store in %s", dataDir)
	}
	s, err := embedded.Open(ctx, store, embedded.Options{Maintenance: 24 * time.Hour, OnNotice: tell})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	snapshot, release, err := s.Snapshot(ctx)
	if err != nil {
		return report, err
	}
	defer release()
	src, err := sourceOf(snapshot)
	if err != nil {
		return report, err
	}
	return Write(ctx, src, dir, opt)
}
