package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"tempestd/internal/config"
)

var update = flag.Bool("update", false, "rewrite the config.toml at the top of the repository")

const reference = "../../config.toml"

func TestReferenceIsTheTableAndItsDefaults(t *testing.T) {
	var want bytes.Buffer
	if err := config.Default().WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(reference, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("config.toml is not what the table of keys says; go test ./internal/config -update rewrites it. It should be:\n%s", &want)
	}
	loaded, err := config.Load(reference, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Path = ""
	if !reflect.DeepEqual(loaded, config.Default()) {
		t.Errorf("config.toml gives\n%+v\nthe defaults are\n%+v", loaded, config.Default())
	}
}

func TestReferenceDocumentsEveryKey(t *testing.T) {
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`^#?[a-z_]+ = `)
	lines := strings.Split(string(data), "\n")
	seen := 0
	for i, line := range lines {
		if !setting.MatchString(line) {
			continue
		}
		seen++
		// batch_bytes and batch_delay share the comment above batch_events.
		if before := lines[i-1]; !strings.HasPrefix(before, "# ") && !strings.HasPrefix(before, "batch_") {
			t.Errorf("line %d has no documentation: %s", i+1, line)
		}
	}
	if seen < 25 {
		t.Errorf("found only %d keys", seen)
	}
	for i, line := range lines {
		if len([]rune(line)) > 140 {
			t.Errorf("line %d is too long to read", i+1)
		}
	}
}

func TestWrittenConfigurationLoadsBack(t *testing.T) {
	c, err := load(t, `
data_dir = "/x y/\"z\""
[stream]
min_free = "67108865B"
[feeds."a.b"]
endpoints = ["h.example"]
stale_after = "1500ms"
backoff = ["1s", "1m1.5s"]
retention = { age = "0s", bytes = "0B" }
`, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(write(t, map[string]string{"c.toml": out.String()}), "c.toml")
	again, err := config.Load(file, noEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	again.Path = c.Path
	if !reflect.DeepEqual(c, again) {
		t.Errorf("wrote\n%s\nread\n%+v\nwant\n%+v", &out, again, c)
	}
}
