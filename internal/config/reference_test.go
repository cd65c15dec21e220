package config_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"tempestd/internal/config"
	"tempestd/internal/jetstream"
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
	loaded.Path, loaded.Warnings = "", nil
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
	again.Path, again.Warnings = c.Path, c.Warnings
	if !reflect.DeepEqual(c, again) {
		t.Errorf("wrote\n%s\nread\n%+v\nwant\n%+v", &out, again, c)
	}
}

// An endpoint is shown as it was written, except for its password (I10).
func TestEndpointsAreShownAsWritten(t *testing.T) {
	c, err := load(t, "[feeds.a]\nendpoints = [\"H.example\", \"ws://me:hidden@127.0.0.1/x\", \"H.example\"]\nprotocol = \"v1\"\ncompress = \"deflate\"\n", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`endpoints = ["H.example", "ws://***@127.0.0.1/x"]`, `protocol = "v1"`, `compress = "deflate"`} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s is not in\n%s", want, &out)
		}
	}
	f := c.Feeds[0]
	if f.Protocol != jetstream.ProtocolV1 || f.Compress != jetstream.CompressDeflate || f.Endpoints[1].Host() != "127.0.0.1:80" {
		t.Errorf("parsed: %+v", f)
	}
	if shown := fmt.Sprintf("%v %+v", f, f); strings.Contains(shown, "hidden") {
		t.Errorf("the password is shown: %s", shown)
	}
}
