package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestADaemonKeepsItsIdentity(t *testing.T) {
	dir := t.TempDir()
	first, err := nodeID(dir)
	if err != nil || len(first) < 20 {
		t.Fatalf("got %q, %v", first, err)
	}
	if again, err := nodeID(dir); err != nil || again != first {
		t.Errorf("after a restart it is %q, %v; it was %q", again, err, first)
	}
	if other, err := nodeID(t.TempDir()); err != nil || other == first {
		t.Errorf("another directory has %q, %v", other, err)
	}
	// An empty file, as after a crash, holds no identity.
	if err := os.WriteFile(filepath.Join(dir, "node"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if anew, err := nodeID(dir); err != nil || anew == first || anew == "" {
		t.Errorf("an empty file gives %q, %v", anew, err)
	}
	if _, err := nodeID(filepath.Join(dir, "not there")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
