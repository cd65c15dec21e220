package integration_test

import (
	"fmt"
	"strings"
	"testing"
)

// check reports all mistakes at once, each with its line.
func TestCheckReportsEveryMistake(t *testing.T) {
	t.Parallel()
	path := write(t, "config.toml", `data_dir = 7
[log]
level = "loud"
[http]
listen = "0.0.0.0:7077"
[stream]
min_free = "1MiB"
[feeds.sky]
endpoints = ["jetstream.example.com"]
backoff = ["1s", "soon"]
stale_afer = "5s"
`)
	for _, command := range []string{"check", "run"} {
		code, p := run(t, command, "-c", path)
		said := p.log.all()
		want := []struct {
			line int
			key  string
		}{{1, "data_dir"}, {3, "log.level"}, {5, "http.listen"}, {7, "stream.min_free"}, {10, "feeds.sky.backoff"}, {11, "feeds.sky.stale_afer"}}
		if code != 2 || len(said) != len(want) || len(p.out.all()) > 0 {
			t.Errorf("%s: exit code %d\n%v%v", command, code, p.log, p.out)
			continue
		}
		for i, w := range want {
			if !strings.HasPrefix(said[i], fmt.Sprintf("%s:%d: %s", path, w.line, w.key)) {
				t.Errorf("%s: error %d is %q, want line %d and key %s", command, i, said[i], w.line, w.key)
			}
		}
	}
}

// demo runs with one of every fault and loses nothing.
func TestDemo(t *testing.T) {
	t.Parallel()
	code, p := run(t, "demo", "--for", "12s", "--faults")
	result := p.out.all()
	if code != 0 || len(result) != 1 || !strings.HasSuffix(result[0], " lost=0 duplicated=0 out_of_order=0") || !strings.HasPrefix(result[0], "sent=") {
		t.Errorf("exit code %d: %v\n%s", code, result, p.log)
	}
	for _, fault := range []string{"garbage=1", "close=1", "eof=1", "crash=1", "half-open=1"} {
		if !strings.Contains(p.log.tail(), fault) {
			t.Errorf("there was no %s", fault)
		}
	}
}
