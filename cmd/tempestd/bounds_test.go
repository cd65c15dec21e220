package main

import (
	"strings"
	"testing"
)

// What --help says of a flag's bounds is what is accepted.
func TestHelpTellsTheBoundsOfFlags(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 1)...)
	if p := run(t, "consumer", "create", "sky", "c", "--after", "0-0", "--addr", d.URL); p.code != 0 {
		t.Fatal(p.err)
	}
	for _, c := range []struct {
		command, flag, says string
		taken, refused      []string
	}{
		{"status", "--interval", "at least 100ms", nil, []string{"99ms"}},
		{"tail sky", "-n", "up to 1000000", []string{"0", "1000000"}, []string{"-1", "1000001"}},
		{"demo", "--for", "at least 1s", nil, []string{"999ms"}},
		{"demo", "--rate", "more than 0", nil, []string{"0"}},
		{"consumer next sky c", "-n", "1 to 1000", []string{"1", "1000"}, []string{"0", "1001"}},
		{"consumer next sky c", "--wait", "up to 30s", []string{"0s"}, []string{"30001ms"}},
		{"consumer next sky c", "--lease", "from 1s to 1h", []string{"1s", "1h"}, []string{"0s", "999ms", "3600001ms"}},
	} {
		words := strings.Fields(c.command)
		if p := run(t, append(words, "--help")...); !strings.Contains(p.out.String(), c.says) {
			t.Errorf("%s --help does not say of %s: %s", c.command, c.flag, c.says)
		}
		try := func(value string) process {
			args := append(words[:len(words):len(words)], c.flag, value)
			if words[0] == "status" {
				args = append(args, "--watch")
			}
			if words[0] != "demo" {
				args = append(args, "--addr", d.URL)
			}
			return run(t, args...)
		}
		for _, value := range c.taken {
			if p := try(value); strings.Contains(p.err.String(), "accepted") || strings.Contains(p.err.String(), "; want") {
				t.Errorf("%s %s %s: %s", c.command, c.flag, value, p.err)
			}
		}
		for _, value := range c.refused {
			if p := try(value); p.code == 0 {
				t.Errorf("%s %s %s is accepted", c.command, c.flag, value)
			}
		}
	}
}
