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

// nodeID returns the identity of the daemon that uses dir. It is the same after every restart, so
// that the daemon gets its own leases back at once. nodeID creates an identity if dir has none. The
// caller holds the lock of dir.
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
	// Write another file first: a truncated identity would be a different identity.
	aside := path + ".new"
	if err := os.WriteFile(aside, []byte(id+"\n"), 0o640); err != nil {
		return "", fmt.Errorf("this daemon's identity: %w", err)
	}
	if err := os.Rename(aside, path); err != nil {
		return "", fmt.Errorf("this daemon's identity: %w", err)
	}
	return id, nil
}
