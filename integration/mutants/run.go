package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// verdict is what became of a mutant. err is nil if its test found it.
type verdict struct {
	mutant
	err  error
	took time.Duration
}

func (v verdict) String() string {
	if v.err != nil {
		return fmt.Sprintf("MISSED  %s: %s\n        %v", v.name, v.bug, v.err)
	}
	return fmt.Sprintf("caught  %-42s %5.1f s  %s %s", v.name, v.took.Seconds(), v.pkg, v.test)
}

// testTimeout bounds the test of one mutant: some make it wait for ever.
const testTimeout = 2 * time.Minute

// copySource copies the files of the source that git knows or would add.
func copySource(ctx context.Context, source, dir string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = source
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the source: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(names), "\x00"), "\x00") {
		err := copyFile(filepath.Join(source, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // deleted, and git still knows it
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// program is the test program of a package, with all mutants in it.
type program struct{ dir, path string }

// build builds the test program of a package, and demands that the tests pass without a mutant.
func build(ctx context.Context, source, pkg string, mutants []mutant) (program, error) {
	p := program{dir: filepath.Join(source, filepath.FromSlash(pkg)), path: filepath.Join(source, strings.ReplaceAll(pkg, "/", "-")+".test")}
	compile := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", p.path, "./"+pkg)
	compile.Dir = source
	if out, err := compile.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build the tests of %s: %w: %s", pkg, err, bytes.TrimSpace(out))
	}
	tried := make(map[string]bool)
	for _, m := range mutants {
		if tried[m.pattern()] {
			continue
		}
		tried[m.pattern()] = true
		if out, err := p.run(ctx, "", m.pattern()); err != nil {
			return p, fmt.Errorf("%s fails without a mutant: %w: %s", m.test, err, tail(out, 2000))
		}
	}
	return p, nil
}

func (p program) run(ctx context.Context, mutant, pattern string) ([]byte, error) {
	test := exec.CommandContext(ctx, p.path, "-test.v", "-test.failfast", "-test.run", pattern, "-test.timeout", testTimeout.String())
	test.Dir = p.dir
	test.Env = append(os.Environ(), variable+"="+mutant)
	return test.CombinedOutput()
}

// demandAll demands it of all mutants, some at a time.
func (p program) demandAll(ctx context.Context, jobs int, mutants []mutant, verdicts chan<- verdict) {
	next := make(chan mutant)
	var workers sync.WaitGroup
	for range min(max(jobs, 1), len(mutants)) {
		workers.Go(func() {
			for m := range next {
				verdicts <- p.demand(ctx, m)
			}
		})
	}
	for _, m := range mutants {
		next <- m
	}
	close(next)
	workers.Wait()
}

// demand runs the mutant's test, and returns an error unless the test fails.
func (p program) demand(ctx context.Context, m mutant) (v verdict) {
	v.mutant = m
	start := time.Now()
	out, err := p.run(ctx, m.name, m.pattern())
	v.took = time.Since(start)
	top, _, _ := strings.Cut(m.test, "/")
	switch {
	case ctx.Err() != nil:
		v.err = ctx.Err()
	case bytes.Contains(out, []byte("no tests to run")):
		v.err = fmt.Errorf("there is no %s in %s", m.test, m.pkg)
	case err == nil:
		v.err = fmt.Errorf("%s in %s passes with it", m.test, m.pkg)
	case m.test == anyTest:
		v.test = failed(out)
	case bytes.Contains(out, []byte("--- FAIL: "+top)), bytes.Contains(out, []byte("panic: ")), bytes.Contains(out, []byte("fatal error: ")):
	default:
		v.err = fmt.Errorf("%s does not run: %s", m.test, tail(out, 1000))
	}
	return v
}

// failed names the test that failed first.
func failed(out []byte) string {
	for line := range bytes.Lines(out) {
		if name, ok := bytes.CutPrefix(line, []byte("--- FAIL: ")); ok {
			return string(bytes.Fields(name)[0])
		}
	}
	return "a test that does not end well"
}

// tail is the end of an output.
func tail(out []byte, n int) []byte { return bytes.TrimSpace(out[max(len(out)-n, 0):]) }
