package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// Something that is no file in the place of one, or a file in the place of a stream's directory, is
// set aside like a damaged file: the daemon starts, nothing of it is lost, and verify and repair
// find it, too.
func TestWhatIsNoFileIsSetAside(t *testing.T) {
	t.Parallel()
	clean := filepath.Join(t.TempDir(), "clean")
	store, s := openFeed(t, clean, embedded.Options{})
	batch := new(messages.Batch)
	crashBatch(batch, 0, 20)
	_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: 20}})
	must(t, err)
	must(t, store.Close())

	const segment = "streams/feed/000000000099.seg"
	for name, c := range map[string]struct {
		path  string
		plant func(path string) error
	}{
		"a file as a stream":        {"streams/other", func(p string) error { return os.WriteFile(p, []byte("hello"), 0o640) }},
		"a directory as a segment":  {segment, func(p string) error { return os.MkdirAll(filepath.Join(p, "more"), 0o750) }},
		"a link to nothing":         {segment, func(p string) error { return os.Symlink("nowhere", p) }},
		"a link to itself":          {segment, func(p string) error { return os.Symlink(p, p) }},
		"a link to another file":    {segment, func(p string) error { return os.Symlink("../../FORMAT", p) }},
		"a pipe as a segment":       {segment, func(p string) error { return syscall.Mkfifo(p, 0o640) }},
		"a directory as a mark":     {"marks/feed", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o750)) }},
		"a pipe as a mark":          {"marks/feed", func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o640)) }},
		"a file as all marks":       {"marks", func(p string) error { return errors.Join(os.RemoveAll(p), os.WriteFile(p, nil, 0o640)) }},
		"a directory as state.mark": {"state.mark", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o750)) }},
		"a directory as state.copy": {"state.copy", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o750)) }},
		"a file as all streams":     {"streams", func(p string) error { return errors.Join(os.RemoveAll(p), os.WriteFile(p, nil, 0o640)) }},
		"a directory as the format": {"FORMAT", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o750)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			planted := func() string {
				dir := filepath.Join(t.TempDir(), "store")
				must(t, os.CopyFS(dir, os.DirFS(clean)))
				must(t, c.plant(filepath.Join(dir, c.path)))
				return dir
			}
			dir, batch := planted(), new(messages.Batch)
			var events told
			store, s := openFeed(t, dir, embedded.Options{OnNotice: events.add})
			if n := kept(t, s); n != 20 && c.path != "streams" {
				t.Errorf("%d entries are left", n)
			}
			crashBatch(batch, 20, 20)
			_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: 40}})
			must(t, err)
			must(t, store.Close())
			found := 0
			for _, e := range events.events {
				if damaged, ok := e.(persistence.FileDamaged); ok && damaged.File == filepath.FromSlash(c.path) {
					found++
					if _, err := os.Lstat(filepath.Join(dir, damaged.Aside)); damaged.Aside == "" || err != nil {
						t.Errorf("it is at %q: %v", damaged.Aside, err)
					}
				}
			}
			if found != 1 {
				t.Errorf("it was told %d times: %+v", found, events.events)
			}
			if !strings.Contains(c.path, "/") {
				return // what verify and repair say of the store as a whole is tested elsewhere
			}

			dir = planted()
			if _, found := verifyDir(t, dir); len(found) == 0 {
				t.Error("verify finds nothing")
			}
			done, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{})
			if err != nil || len(done.Remaining) > 0 {
				t.Errorf("repair: %+v, %v", done, err)
			}
			if _, found := verifyDir(t, dir); len(found) > 0 {
				t.Errorf("after a repair: %+v", found)
			}
		})
	}
}
