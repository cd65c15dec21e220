package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/backup"
)

// fillStore makes a data directory with a stream "sky" of several segments. It returns the
// directory and the number of entries.
func fillStore(t *testing.T) (dir string, entries int) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	store, err := embedded.Open(t.Context(), filepath.Join(dir, "store"), embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := store.OpenStream(t.Context(), "sky", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := int64(1_795_000_000_000_000)
	for range 40 {
		batch := &messages.Batch{}
		for _, e := range posts(entries, 20) {
			at += 1000
			batch.Events = append(batch.Events, messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(e)), Kind: messages.KindCommit, TimeUS: at, Fingerprint: uint64(at)})
			batch.Buf = append(batch.Buf, e...)
		}
		entries += 20
		if _, err := stream.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{TimeUS: at}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, entries
}

// damage flips the bits of some bytes inside a segment's file.
func damage(t *testing.T, dir, segment string) {
	t.Helper()
	path := filepath.Join(dir, "store", "streams", "sky", segment)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		b[len(b)/3+i] ^= 0xff
	}
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyAndRepair(t *testing.T) {
	dir, entries := fillStore(t)
	if p := run(t, "streams", "verify", "--data-dir", dir); p.code != 0 || !strings.Contains(p.out.String(), "1 stream, ") || p.err.String() != "" {
		t.Errorf("a store that is well: exit %d\n%s%s", p.code, p.out, p.err)
	}
	damage(t, dir, "000000000002.seg")
	p := run(t, "streams", "verify", "--data-dir", dir)
	if p.code != 1 || !strings.Contains(p.out.String(), "streams/sky/000000000002.seg at ") || !strings.Contains(p.out.String(), "lost: 20 entries") ||
		!strings.Contains(p.out.String(), "to be done: ") || !strings.Contains(p.err.String(), "tempestd streams repair") {
		t.Errorf("a damaged one: exit %d\n%s%s", p.code, p.out, p.err)
	}
	p = run(t, "streams", "verify", "--offline", "--data-dir", dir, "--stream", "sky", "--json")
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	var found struct{ Finding persistence.Finding }
	var end struct{ Verified persistence.Verified }
	if p.code != 1 || len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &found) != nil || json.Unmarshal([]byte(lines[1]), &end) != nil ||
		found.Finding.Lost.Entries != 20 || end.Verified.Damaged != 1 || end.Verified.Entries != uint64(entries-20) {
		t.Errorf("as JSON: exit %d\n%s%s", p.code, p.out, p.err)
	}
	before, _ := os.ReadFile(filepath.Join(dir, "store", "streams", "sky", "000000000002.seg"))
	if p := run(t, "streams", "repair", "--dry-run", "--data-dir", dir); p.code != 1 || !strings.Contains(p.out.String(), "a gap entry would tell of it") {
		t.Errorf("a dry run: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "store", "streams", "sky", "000000000002.seg")); string(after) != string(before) {
		t.Error("a dry run changed something")
	}
	p = run(t, "streams", "repair", "--data-dir", dir, "--json")
	var done embedded.Repaired
	if err := json.Unmarshal([]byte(p.out.String()), &done); err != nil || p.code != 0 || len(done.Lost) != 1 || done.Lost[0].Gap == nil || len(done.Done) != 1 || done.Done[0].Aside == "" {
		t.Errorf("a repair: exit %d, %v\n%s%s", p.code, err, p.out, p.err)
	}
	if kept, _ := os.ReadFile(filepath.Join(dir, "store", done.Done[0].Aside)); string(kept) != string(before) {
		t.Error("the damaged file is not kept")
	}
	if p := run(t, "streams", "repair", "--data-dir", dir); p.code != 0 || p.out.String() != "nothing is wrong\n" {
		t.Errorf("another repair: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if p := run(t, "streams", "verify", "--data-dir", dir); p.code != 0 || !strings.Contains(p.out.String(), "lost before: 20 entries") {
		t.Errorf("after the repair: exit %d\n%s%s", p.code, p.out, p.err)
	}
}

func TestCareRefusesWhatItCannotDo(t *testing.T) {
	dir, _ := fillStore(t)
	store, err := embedded.Open(t.Context(), filepath.Join(dir, "store"), embedded.Options{MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	empty, full := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code int
		said string
	}{
		"streams verify --data-dir " + dir:                              {1, "stop it first"},
		"streams repair --data-dir " + dir:                              {1, "stop it first (systemctl stop tempestd)"},
		"backup " + empty + " --data-dir " + dir:                        {1, "stop it first"},
		"backup " + full + " --data-dir " + empty:                       {1, "there is no store in " + empty},
		"streams verify --data-dir " + empty:                            {1, "there is no store in " + empty},
		"streams repair --data-dir " + empty:                            {1, "there is no store in " + empty},
		"streams verify --addr 127.0.0.1:1":                             {1, "--offline needs none"},
		"backup " + empty + " --addr 127.0.0.1:1":                       {1, "--offline needs none"},
		"restore " + empty + " --data-dir " + filepath.Join(empty, "x"): {1, "there is no whole backup in " + empty},
		"streams verify --rate -1":                                      {2, "--rate: got -1"},
		"streams verify --stream ../x":                                  {2, "--stream: bad stream name"},
		"backup":                                                        {2, "want one, the directory of the backup"},
		"restore a b":                                                   {2, "want one, the directory of the backup"},
		"streams repair --frob":                                         {2, "unknown flag"},
	} {
		if p := run(t, strings.Fields(args)...); p.code != want.code || !strings.Contains(p.err.String(), want.said) || p.out.String() != "" {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", args, p.code, want.code, want.said, p.out, p.err)
		}
	}
	if entries, _ := os.ReadDir(empty); len(entries) > 0 {
		t.Errorf("what was refused left %v", entries)
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir, entries := fillStore(t)
	to := filepath.Join(t.TempDir(), "backup")
	var first, second backup.Report
	for _, report := range []*backup.Report{&first, &second} {
		p := run(t, "backup", to, "--offline", "--data-dir", dir, "--json")
		if err := json.Unmarshal([]byte(p.out.String()), report); err != nil || p.code != 0 {
			t.Fatalf("exit %d, %v\n%s%s", p.code, err, p.out, p.err)
		}
	}
	if first.Copied.Bytes != first.Bytes || second.Copied.Bytes*4 > first.Bytes || second.Copied.Bytes+second.Kept.Bytes != second.Bytes {
		t.Errorf("the first: %+v, the second: %+v", first, second)
	}
	if p := run(t, "backup", filepath.Dir(dir), "--offline", "--data-dir", dir); p.code != 1 || !strings.Contains(p.err.String(), "no part of a backup") {
		t.Errorf("into a directory that holds something else: exit %d\n%s", p.code, p.err)
	}
	var linked backup.Report
	p := run(t, "backup", filepath.Join(t.TempDir(), "linked"), "--link", "--data-dir", dir, "--json")
	if err := json.Unmarshal([]byte(p.out.String()), &linked); err != nil || p.code != 0 || linked.Linked.Files == 0 {
		t.Errorf("with links: exit %d, %v\n%s%s", p.code, err, p.out, p.err)
	}
	damage(t, dir, "000000000002.seg") // damage to the store does not reach its backup
	restored := filepath.Join(t.TempDir(), "restored")
	p = run(t, "restore", to, "--data-dir", restored)
	if p.code != 0 || !strings.Contains(p.out.String(), "restored 1 stream,") {
		t.Fatalf("restore: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if p := run(t, "streams", "verify", "--data-dir", restored); p.code != 0 || !strings.Contains(p.out.String(), showCount(entries)+" entries") {
		t.Errorf("what was restored: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if p := run(t, "restore", to, "--data-dir", restored); p.code != 1 || !strings.Contains(p.err.String(), "empty") {
		t.Errorf("a second time: exit %d\n%s", p.code, p.err)
	}
}

func TestVerifyAsksTheDaemon(t *testing.T) {
	d := newFakeDaemon(t, "hunter2")
	d.append(t, posts(0, 100)...)
	token := file(t, "token", "hunter2")
	p := run(t, "streams", "verify", "--addr", d.URL, "--token-file", token, "--rate", "100")
	if p.code != 0 || !strings.Contains(p.out.String(), "100 entries") {
		t.Errorf("exit %d\n%s%s", p.code, p.out, p.err)
	}
	if p := run(t, "streams", "verify", "--addr", d.URL, "--token-file", token, "--stream", "nowhere"); p.code != 1 || !strings.Contains(p.err.String(), "the streams are: sky") {
		t.Errorf("no such stream: exit %d\n%s", p.code, p.err)
	}
	for _, command := range []string{"streams verify", "backup " + t.TempDir()} {
		if p := run(t, append(strings.Fields(command), "--addr", d.URL)...); p.code != 1 || !strings.Contains(p.err.String(), "Bearer") {
			t.Errorf("%s without the token: exit %d\n%s", command, p.code, p.err)
		}
	}
	to := filepath.Join(t.TempDir(), "backup")
	if p := run(t, "backup", to, "--addr", d.URL, "--token-file", token); p.code != 0 {
		t.Errorf("backup: exit %d\n%s%s", p.code, p.out, p.err)
	}
	if _, err := backup.ReadManifest(to); err != nil {
		t.Error(err)
	}
}
