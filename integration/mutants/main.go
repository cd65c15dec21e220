// Command mutants puts deliberate bugs into a copy of the source, and demands that a named test finds
// each of them.
//
// A mutant is a patch in testdata. Its first line names the package, the test and the bug:
//
//	internal/dedupe TestWhatIsCorruptIsWelcomeBack: a corrupt entry counts as held
//
// The tests are part of "make test". A mutant that survives shows that one is missing. A patch that
// does not apply any more, does not compile or names no test is a failure, too: mutants_test.go looks
// for the first and the last of these without building anything.
//
//	go run ./integration/mutants                 # all of them: "make mutants"
//	go run ./integration/mutants lease judge     # those whose names contain one of the words
//	go run ./integration/mutants -find lease     # which test of the package finds each of them, if any
//
// It exits with 1 if one of them was not caught.
//
//	main.go     the command
//	mutants.go  the patches
//	weave.go    all mutants in one copy of the source
//	run.go      the tests, with one of them
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many mutants are tested at a time")
	find := flag.Bool("find", false, "run all tests of each mutant's package, and name the first one that fails")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	caught, err := testAll(ctx, *jobs, *find, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !caught {
		os.Exit(1)
	}
}

// testAll tests the mutants whose names contain one of the words, or all of them, and prints the
// verdicts. With find it looks for tests that find them.
func testAll(ctx context.Context, jobs int, find bool, words []string) (caught bool, err error) {
	source, err := root()
	if err != nil {
		return false, err
	}
	all, err := load(filepath.Join(source, "integration", "mutants", "testdata"))
	if err != nil {
		return false, err
	}
	if len(words) > 0 {
		all = slices.DeleteFunc(all, func(m mutant) bool {
			return !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(m.name, word) })
		})
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)

	start := time.Now()
	copied := filepath.Join(dir, "source")
	if err := copySource(ctx, source, copied); err != nil {
		return false, err
	}
	if err := weave(ctx, copied, all); err != nil {
		return false, err
	}
	verdicts := make(chan verdict)
	go func() {
		defer close(verdicts)
		for pkg, mutants := range byPackage(all) {
			if find {
				for i := range mutants {
					mutants[i].test = anyTest
				}
			}
			p, err := build(ctx, copied, pkg, mutants)
			if err != nil {
				for _, m := range mutants {
					verdicts <- verdict{mutant: m, err: err}
				}
				continue
			}
			p.demandAll(ctx, jobs, mutants, verdicts)
		}
	}()
	missed := 0
	for v := range verdicts {
		fmt.Println(v)
		if v.err != nil {
			missed++
		}
	}
	fmt.Printf("%d of %d mutants were caught, in %s\n", len(all)-missed, len(all), time.Since(start).Round(time.Second))
	return missed == 0, nil
}
