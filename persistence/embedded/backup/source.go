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

// Source is what a backup is made of.
type Source struct {
	Streams []persistence.StreamInfo
	Files   []SourceFile
}

// SourceFile is one of a data directory's files.
type SourceFile struct {
	Path    string // below the data directory, with slashes
	From    string // where it is; "" where Content is all of it
	Bytes   int64  // that belong to the backup; of a sealed one whatever there is
	Sealed  bool
	Content []byte
}

// The directories of a data directory.
const (
	storeDir   = "store"
	filtersDir = "filters"
)

// FromSnapshot names the files of a snapshot that a daemon on this machine has given, and what lies
// beside its store.
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

// Offline makes a backup of the store below dataDir, which no daemon has open: then the error
// matches persistence.ErrLocked. The store is opened and closed for that, as a daemon does; tell is
// told what that finds.
func Offline(ctx context.Context, dataDir, dir string, opt Options, tell func(persistence.Event)) (report Report, err error) {
	store := filepath.Join(dataDir, storeDir)
	if _, err := os.Stat(filepath.Join(store, "streams")); err != nil {
		return report, fmt.Errorf("there is no store in %s", dataDir)
	}
	s, err := embedded.Open(ctx, store, embedded.Options{Maintenance: 24 * time.Hour, OnEvent: tell})
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
