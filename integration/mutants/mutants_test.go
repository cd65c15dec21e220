package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// least is how many mutants there are at least.
const least = 250

// Every patch applies to the source as it is, and names a test that there is. "make mutants" shows
// that the tests find the bugs.
func TestEveryMutantAppliesAndNamesATest(t *testing.T) {
	source, err := root()
	if err != nil {
		t.Fatal(err)
	}
	all, err := load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < least {
		t.Errorf("there are %d mutants, want %d at least", len(all), least)
	}
	tests := make(map[string]string) // the text of a package's test files
	bugs := make(map[string]string)
	for _, m := range all {
		patch, err := filepath.Abs(m.patch)
		if err != nil {
			t.Fatal(err)
		}
		check := exec.Command("git", "apply", "--check", patch)
		check.Dir = source
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", m.name, err, out)
		}
		text, known := tests[m.pkg]
		if !known {
			files, err := filepath.Glob(filepath.Join(source, filepath.FromSlash(m.pkg), "*_test.go"))
			if err != nil || len(files) == 0 {
				t.Errorf("%s: %s has no tests", m.name, m.pkg)
			}
			for _, file := range files {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text += string(b)
			}
			tests[m.pkg] = text
		}
		top, _, _ := strings.Cut(m.test, "/")
		if !regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(top) + `\(t \*testing\.T\)`).MatchString(text) {
			t.Errorf("%s: %s has no %s", m.name, m.pkg, top)
		}
		if other, twice := bugs[m.bug]; twice && other == m.pkg {
			t.Errorf("%s: another mutant of %s has the same words", m.name, m.pkg)
		}
		bugs[m.bug] = m.pkg
	}
}
