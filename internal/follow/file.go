package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tempestd/internal/wholefile"
)

// kept is what the file of a Follower has.
type kept struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
	DIDs    []string  `json:"dids"`
}

// load returns nil if there is no file, or none that can be read: the follows are read again.
func load(file string) (*kept, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the follows: %w", err)
	}
	var k kept
	if json.Unmarshal(text, &k) != nil {
		return nil, nil
	}
	return &k, nil
}

// save replaces the file atomically. Its folder is made where it is missing.
func save(file string, k kept) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep the follows: %w", err)
		}
	}()
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return wholefile.Write(file, text)
}
