package main

import (
	"bufio"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant is a deliberate bug, and the test that must fail with it.
type mutant struct {
	name  string // of its file, without ".patch"
	patch string // its file
	pkg   string // the directory of the test's package, from the root on
	test  string // the test, or a subtest as "Test/sub"
	bug   string // what is wrong, in words
}

// load reads the mutants of a directory, those of one package after the other.
func load(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no patches in %s: %v", dir, err)
	}
	all := make([]mutant, 0, len(files))
	for _, file := range files {
		m, err := read(file)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b mutant) int { return strings.Compare(a.pkg, b.pkg) })
	return all, nil
}

// read reads a patch. Its first line is "package Test: bug".
func read(file string) (mutant, error) {
	f, err := os.Open(file)
	if err != nil {
		return mutant{}, err
	}
	defer f.Close()
	m := mutant{name: strings.TrimSuffix(filepath.Base(file), ".patch"), patch: file}
	lines := bufio.NewScanner(f)
	lines.Scan()
	where, bug, found := strings.Cut(lines.Text(), ": ")
	m.pkg, m.test, _ = strings.Cut(where, " ")
	if m.bug = bug; !found || m.test == "" || bug == "" {
		return mutant{}, fmt.Errorf("%s: its first line is not \"package Test: bug\"", file)
	}
	return m, lines.Err()
}

// anyTest stands for any test of a package.
const anyTest = "Test"

// pattern is the pattern for -run that selects exactly the test.
func (m mutant) pattern() string {
	if m.test == anyTest {
		return "^Test"
	}
	parts := strings.Split(m.test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// root returns the directory of the module, from the current directory upwards.
func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the current directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// byPackage yields the mutants of each package, by the package of their tests.
func byPackage(all []mutant) iter.Seq2[string, []mutant] {
	return func(yield func(string, []mutant) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && all[n].pkg == all[0].pkg {
				n++
			}
			if !yield(all[0].pkg, all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}
