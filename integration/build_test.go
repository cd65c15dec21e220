package integration_test

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Two builds of the same source in different directories give the same file. The file needs no
// library of the system and does not contain the directory.
func TestReproducibleBuild(t *testing.T) {
	t.Parallel()
	var built [2][]byte
	for i := range built {
		dir := filepath.Join(t.TempDir(), "tempestd")
		copySource(t, dir)
		// Build as from a shell, without the variables of an outer make or go test.
		cmd := exec.Command("make", "build")
		cmd.Dir = dir
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			name, _, _ := strings.Cut(v, "=")
			return strings.HasPrefix(name, "MAKE") || slices.Contains([]string{"MFLAGS", "CGO_ENABLED", "GOFLAGS", "PWD"}, name)
		})
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make build: %v\n%s", err, out)
		}
		var err error
		if built[i], err = os.ReadFile(filepath.Join(dir, "tempestd")); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(built[i], []byte(dir)) {
			t.Error("the binary holds the directory that it was built in")
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("two builds differ: %d and %d bytes", len(built[0]), len(built[1]))
	}
	file, err := elf.NewFile(bytes.NewReader(built[0]))
	if err != nil {
		t.Fatal(err)
	}
	needs, err := file.ImportedLibraries()
	if err != nil || len(needs) > 0 {
		t.Errorf("the binary needs %v, %v", needs, err)
	}
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the binary wants an interpreter")
	}
}

// copySource copies the source of the binary.
func copySource(t *testing.T, to string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := entry.Name()
		switch {
		case entry.IsDir() && rel != "." && strings.HasPrefix(name, "."):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case strings.HasSuffix(name, "_test.go") || !entry.Type().IsRegular() || rel == "tempestd":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
