package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// The names in a store's directory.
const (
	formatFile = "FORMAT"
	streamsDir = "streams"
	marksDir   = "marks"
	stateDir   = "state"
	asideDir   = "aside" // damaged data that is kept
)

// The version and the content of the format file.
const (
	formatVersion = 2
	formatText    = "tempestd store 2\n"
)

// checkFormat refuses a store with the layout of another version. It marks a new store.
func (s *Store) checkFormat() error {
	path := filepath.Join(s.dir, formatFile)
	b, err := disk.ReadFile(s.files, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, disk.ErrNotRegular) {
		return fmt.Errorf("read the store's format: %w", err)
	}
	if string(b) == formatText {
		return nil
	}
	var version int
	if _, scanErr := fmt.Sscanf(string(b), "tempestd store %d\n", &version); scanErr == nil && version != formatVersion {
		return fmt.Errorf("%w: %s has the format %d and this version reads %d: use the tempestd that wrote it, or move it away to begin anew", persistence.ErrVersion, s.dir, version, formatVersion)
	}
	names, listErr := s.files.List(s.dir)
	if listErr != nil {
		return fmt.Errorf("list the store: %w", listErr)
	}
	known := slices.Contains(names, streamsDir)
	if !known && (slices.Contains(names, "badger") || slices.Contains(names, "highwater")) {
		return fmt.Errorf("%w: this version does not read the format of %s: move it away, and the feeds begin anew as far back as their servers go", persistence.ErrVersion, s.dir)
	}
	if known {
		fault := persistence.FileDamaged{File: formatFile, Err: errors.New("it is missing")}
		if !errors.Is(err, fs.ErrNotExist) {
			fault.Err = fmt.Errorf("%w: it does not say which format the store has", segment.ErrDamaged)
			if fault.Aside, err = s.setAside(path); err != nil {
				return err
			}
		}
		s.emit(fault)
	}
	if err := disk.ReplaceFile(s.files, s.dir, path, []byte(formatText)); err != nil {
		return s.failure(fmt.Errorf("mark the store's format: %w", err))
	}
	return nil
}

// asidePath returns a new name in the directory for damaged data.
func (s *Store) asidePath(path string) (string, error) {
	dir := filepath.Join(s.dir, asideDir)
	if err := s.files.MakeDir(dir); err != nil {
		return "", err
	}
	name := strings.ReplaceAll(s.below(path), string(filepath.Separator), "_")
	for n := 1; ; n++ {
		aside := filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
		if taken, err := disk.Exists(s.files, aside); err != nil || !taken {
			return aside, err
		}
	}
}

// setAside moves a file to the directory for damaged data. It returns the new name, relative to the
// store's directory.
func (s *Store) setAside(path string) (string, error) {
	aside, err := s.asidePath(path)
	if err == nil {
		err = s.files.Rename(path, aside)
	}
	if err == nil {
		err = errors.Join(s.files.SyncDir(filepath.Dir(path)), s.files.SyncDir(filepath.Dir(aside)))
	}
	if err != nil {
		return "", s.failure(fmt.Errorf("set a damaged file aside: %w", err))
	}
	return s.below(aside), nil
}

// clearFile sets a file aside that is in the place of a directory.
func (s *Store) clearFile(stream, dir string) error {
	_, err := s.files.List(dir)
	if !errors.Is(err, syscall.ENOTDIR) {
		return nil // any other error is met again
	}
	aside, asideErr := s.setAside(dir)
	if asideErr == nil {
		s.emit(persistence.FileDamaged{Stream: stream, File: s.below(dir), Aside: aside, Err: err})
	}
	return asideErr
}

// copyAside stores some bytes of a file in the directory for damaged data.
func (s *Store) copyAside(path string, b []byte) (string, error) {
	aside, err := s.asidePath(path)
	if err == nil {
		err = disk.ReplaceFile(s.files, filepath.Dir(aside), aside, b)
	}
	if err != nil {
		return "", fmt.Errorf("set damaged bytes aside: %w", err)
	}
	return s.below(aside), nil
}

// below returns a path relative to the store's directory, as events name it.
func (s *Store) below(path string) string {
	if rel, err := filepath.Rel(s.dir, path); err == nil {
		return rel
	}
	return path
}
