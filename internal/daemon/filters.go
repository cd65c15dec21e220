package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tempestd/internal/crashpoint"
	"tempestd/internal/wholefile"
	"tempestd/messages"
)

// filterFiles stores the filters of each feed in one file. So a daemon that starts with another
// filter knows the filter that was in force before.
type filterFiles struct{ dir string }

func (f filterFiles) path(feed string) string { return filepath.Join(f.dir, feed+".json") }

// LoadFilters implements actors.FilterStore. It returns nil if there is no file.
func (f filterFiles) LoadFilters(_ context.Context, feed string) (*messages.FilterLog, error) {
	text, err := os.ReadFile(f.path(feed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the feed's filters: %w", err)
	}
	var log messages.FilterLog
	if err := json.Unmarshal(text, &log); err != nil {
		return nil, fmt.Errorf("read the feed's filters: %s: %w", f.path(feed), err)
	}
	return &log, nil
}

// SaveFilters implements actors.FilterStore. It replaces the file atomically: after a crash the
// file is complete, either old or new.
func (f filterFiles) SaveFilters(_ context.Context, feed string, log messages.FilterLog) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the feed's filters: %w", err)
		}
	}()
	text, err := json.Marshal(log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return err
	}
	err = wholefile.Write(f.path(feed), text)
	crashpoint.Pass(crashpoint.FiltersSaved)
	return err
}
