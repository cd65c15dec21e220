package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// nodeID is the identity of the daemon that uses the directory, the same after every restart: it takes its own leases again at once. It is made when the
// directory has none. The caller holds the directory's lock.
func nodeID(dir string) (string, error) {
	path := filepath.Join(dir, "node")
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("this daemon's identity: %w", err)
	}
	id := rand.Text()
	// Written aside first: half an identity would be another one.
	aside := path + ".new"
	if err := os.WriteFile(aside, []byte(id+"\n"), 0o640); err != nil {
		return "", fmt.Errorf("this daemon's identity: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return "", fmt.Errorf("this daemon's identity: %w", err)
	}
	return id, nil
}
