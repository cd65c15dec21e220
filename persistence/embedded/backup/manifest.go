package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tempestd/persistence"
)

const (
	manifestFile = "MANIFEST"
	filesDir     = "files"
	lockFile     = "LOCK"

	format = 1
)

// ErrNoBackup is matched by the error for a directory without a whole backup.
var ErrNoBackup = errors.New("there is no whole backup")

// Manifest is the content of a backup.
type Manifest struct {
	Format  int                      `json:"format"`
	Made    time.Time                `json:"made"`
	Version string                   `json:"tempestd"` // version that made it
	Streams []persistence.StreamInfo `json:"streams"`
	Files   []File                   `json:"files"`
}

// File is one file of a data directory.
type File struct {
	Path   string `json:"path"` // relative to the data directory, with slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ReadManifest reads the manifest of the backup in dir. The error matches ErrNoBackup if there is
// no manifest, or no whole one.
func ReadManifest(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: it has no %s, which is written last", ErrNoBackup, dir, manifestFile)
	}
	if err != nil {
		return nil, err
	}
	body, sum, ok := bytes.Cut(b, []byte("\n"))
	if !ok || string(bytes.TrimSpace(sum)) != sumOf(body) {
		return nil, fmt.Errorf("%w in %s: the checksum of its %s does not match", ErrNoBackup, dir, manifestFile)
	}
	m := new(Manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrNoBackup, dir, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("the backup in %s has format %d; this version reads %d", dir, m.Format, format)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || len(f.SHA256) != 2*sha256.Size {
			return nil, fmt.Errorf("%w in %s: it names the file %.100q", ErrNoBackup, dir, f.Path)
		}
	}
	return m, nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// write replaces the manifest.
func (m *Manifest) write(dir string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	text := fmt.Appendf(body, "\n%s\n", sumOf(body))
	path := filepath.Join(dir, manifestFile)
	if err := writeFile(path+temporary, text); err != nil {
		return err
	}
	if err := os.Rename(path+temporary, path); err != nil {
		return err
	}
	return syncDir(dir)
}

const temporary = ".tmp"

// writeFile writes a file and syncs it.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
