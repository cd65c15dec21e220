package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteReplacesTheWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file.json")
	for _, text := range []string{"a longer text", "short", ""} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	left(t, dir, 1)
}

func TestWriteLeavesNothingAfterAnError(t *testing.T) {
	dir := t.TempDir()
	if err := Write(filepath.Join(dir, "none", "file"), nil); !os.IsNotExist(err) {
		t.Errorf("without a folder: %v", err)
	}
	// A folder with something in it cannot be replaced.
	if err := os.MkdirAll(filepath.Join(dir, "file", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "file"), []byte("text")); err == nil {
		t.Error("a folder was replaced")
	}
	left(t, dir, 1)
}

func left(t *testing.T, dir string, want int) {
	t.Helper()
	if files, err := os.ReadDir(dir); err != nil || len(files) != want {
		t.Errorf("%v, %v, want %d", files, err, want)
	}
}
