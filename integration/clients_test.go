package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// clients returns the directory with the npm packages of clients/ and copies of its scripts. The
// packages are installed once per test run, when the first test needs them, and never in the source
// tree.
var clients = sync.OnceValues(func() (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("the clients of npm need Node.js and npm, which .ci/needs installs: %w", err)
	}
	dir := filepath.Join(scratch, "clients")
	if err := os.CopyFS(dir, os.DirFS("clients")); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--prefer-offline", "--no-progress")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in a copy of integration/clients: %w\n%s", err, out)
	}
	return dir, nil
})

// startNode starts a script of clients/. The test reads its output while it runs; next waits for a
// line.
func startNode(t testing.TB, script string, args ...string) *process {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("the clients of npm need Node.js, which .ci/needs installs: %v", err)
	}
	dir, err := clients()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, node, nil, append([]string{filepath.Join(dir, script)}, args...)...)
}

// The installed packages have the versions of the lock file, and the installed Node.js runs each of
// them.
func TestClientsAreThosePinned(t *testing.T) {
	t.Parallel()
	var pinned struct{ Dependencies map[string]string }
	readJSON(t, "clients/package.json", &pinned)
	names := slices.Sorted(maps.Keys(pinned.Dependencies))
	p := startNode(t, "versions.mjs", names...)
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d\n%v", code, p.log)
	}
	var want []string
	for _, name := range names {
		want = append(want, name+" "+pinned.Dependencies[name])
	}
	if got := p.out.all(); !slices.Equal(got, want) {
		t.Errorf("installed %q, pinned are %q", got, want)
	}
}

// The lock file identifies a package by its checksum and names no host.
func TestClientsLockNamesNoHost(t *testing.T) {
	var lock struct{ Packages map[string]map[string]any }
	readJSON(t, "clients/package-lock.json", &lock)
	for name, entry := range lock.Packages {
		if entry["resolved"] != nil || name != "" && entry["integrity"] == nil {
			t.Errorf("%s: resolved %v, integrity %v; want a checksum alone", name, entry["resolved"], entry["integrity"])
		}
	}
	if len(lock.Packages) < 2 {
		t.Error("the lock file names no packages")
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
