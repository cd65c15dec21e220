package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// lockStore takes the lock of a store that exists.
func lockStore(ctx context.Context, dir string) (*os.File, error) {
	if info, err := os.Stat(filepath.Join(dir, streamsDir)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("there is no store in %s", dir)
	}
	return lockDir(ctx, dir)
}

// stateAtRest opens a copy of everything that the store keeps beside its streams, in the same way
// as the store, and reports the findings. It returns the register.
func (v *verifier) stateAtRest(ctx context.Context, tell bool) (registered map[string]known, err error) {
	scratch, err := os.MkdirTemp("", "tempestd-verify-")
	if err != nil {
		return nil, fmt.Errorf("copy the state to look at it: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := v.copyState(scratch); err != nil {
		return nil, fmt.Errorf("copy the state to look at it: %w", err)
	}
	var mu sync.Mutex
	var findings []persistence.Finding
	store, err := Open(ctx, scratch, Options{
		MinFree: 1, Maintenance: 24 * time.Hour,
		FreeSpace: func(string) (uint64, error) { return 1 << 60, nil },
		OnNotice: func(e persistence.Notice) {
			if f, ok := stateFinding(e); ok {
				mu.Lock()
				defer mu.Unlock()
				findings = append(findings, f)
			}
		},
	})
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), scratch, v.dir))
	}
	registered, _ = store.state.register()
	err = store.Close()
	if tell {
		for _, f := range findings {
			v.found(f)
		}
	}
	return registered, err
}

// stateFinding returns the finding for a notice of a store without streams.
func stateFinding(e persistence.Notice) (persistence.Finding, bool) {
	switch e := e.(type) {
	case persistence.FileDamaged:
		remedy := "it is made anew"
		if e.Aside != "" {
			remedy = "it is moved to aside/ and made anew"
		}
		return persistence.Finding{File: e.File, Fault: e.Err.Error(), Remedy: remedy}, e.Stream == ""
	case persistence.StateLost:
		remedy := "it is moved to aside/ and made anew from " + copyFile
		if len(e.Consumers) > 0 {
			remedy += "; these consumers may be where they were before: " + strings.Join(e.Consumers, ", ")
		}
		return persistence.Finding{File: stateDir, Fault: e.Err.Error(), Remedy: remedy}, true
	}
	return persistence.Finding{}, false
}

// copyState copies the files beside the streams.
func (v *verifier) copyState(to string) error {
	if err := os.Mkdir(filepath.Join(to, streamsDir), 0o750); err != nil {
		return err
	}
	for _, name := range []string{formatFile, copyFile, stateMarkFile, sumsFile} {
		if err := copyIfThere(filepath.Join(v.dir, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(filepath.Join(v.dir, stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(to, stateDir), 0o750)
	}
	for _, f := range files {
		if err == nil && f.Type().IsRegular() {
			err = copyIfThere(filepath.Join(v.dir, stateDir, f.Name()), filepath.Join(to, stateDir, f.Name()))
		}
	}
	return err
}

func copyIfThere(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return ignoreNotExist(err)
	}
	return os.WriteFile(to, b, 0o640)
}

// stateInUse checks the state of an open store: its tables and each value.
func (v *verifier) stateInUse(t *state) {
	if err := t.verify(); err != nil && !persistence.Temporary(err) && !errors.Is(err, persistence.ErrStoreClosed) {
		v.found(persistence.Finding{File: stateDir, Fault: err.Error(), Remedy: "the next start moves it to aside/ and makes it anew from " + copyFile})
	}
	b, err := disk.ReadFile(v.files, t.store.path(copyFile))
	if err == nil {
		_, err = parseCopy(b)
	}
	if ignoreNotExist(err) != nil {
		v.found(persistence.Finding{File: copyFile, Fault: err.Error(), Remedy: "the next change of the state makes it anew"})
	}
}

// verify reads the whole database.
func (t *state) verify() (err error) {
	db, release, err := t.use()
	if err != nil {
		return err
	}
	defer release()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the database is damaged: %v", r)
		}
	}()
	if err := db.VerifyChecksum(); err != nil {
		return fmt.Errorf("a table of the database is damaged: %w", err)
	}
	return eachIn(db, nil, func([]byte, uint64, []byte) error { return nil })
}
