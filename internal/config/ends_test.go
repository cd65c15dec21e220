package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"tempestd/internal/config"
)

// Both ends of every range are accepted, and what is just outside is not.
func TestRangesAreAcceptedUpToTheirEnds(t *testing.T) {
	all := config.Ranges()
	if len(all) < 25 {
		t.Errorf("only %d keys have a range", len(all))
	}
	for _, r := range all {
		parts := strings.Split(strings.Replace(r.Path, "feeds.*", "feeds.sky", 1), ".")
		about := func(source string) string {
			if r.List {
				source = "[" + source + "]"
			}
			key := strings.Join(parts, ".")
			text := key + " = " + source + "\n"
			if !strings.HasPrefix(key, "feeds.sky.endpoints") {
				text += "feeds.sky.endpoints = [\"jet.example.com\"]\n"
			}
			_, err := load(t, text, func(string) (string, bool) { return "", false })
			if err == nil {
				return ""
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				// Another rule may refuse an end, such as rewind that is not less than replay_window.
				if strings.Contains(line, key+": ") && strings.Contains(line, " from ") {
					return line
				}
			}
			return ""
		}
		for _, ok := range []string{r.Least, r.Most} {
			if err := about(ok); err != "" {
				t.Errorf("%s = %s: %s", r.Path, ok, err)
			}
		}
		for _, bad := range []string{r.Below, r.Above} {
			if bad != `"0s"` && bad != `"0B"` && about(bad) == "" {
				t.Errorf("%s = %s is accepted", r.Path, bad)
			}
		}
	}
}

// A range in the documentation that is written by hand could say something else than is accepted.
func TestDocumentedRangesAreOfTheTable(t *testing.T) {
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range config.Ranges() {
		known[strings.ReplaceAll(fmt.Sprintf("(%s to %s", r.Least, r.Most), `"`, "")] = true
	}
	found := regexp.MustCompile(`\(-?[0-9][0-9A-Za-z_]* to [0-9][0-9A-Za-z_]*`).FindAllString(string(data), -1)
	for _, text := range found {
		if !known[text] {
			t.Errorf("config.toml has the range %s), which no key has", text)
		}
	}
	if len(found) < 20 {
		t.Errorf("config.toml has only %d ranges", len(found))
	}
}
