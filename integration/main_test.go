package integration_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

var (
	program string // the path of the tempestd that the tests run
	plain   string // the path of one without the race detector and with crash points
	scratch string // a directory that all tests share
)

// raceEnabled reports whether the daemon under test has the race detector: it does if the tests
// have it, or with TEMPESTD_TEST_RACE. The tests themselves are several times cheaper without.
var raceEnabled = testsHaveDetector || os.Getenv("TEMPESTD_TEST_RACE") != ""

func TestMain(m *testing.M) {
	// Processes and their timers are waited for more than they compute. -parallel overrides this.
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))) // the flag exists
	if os.Getenv(floodVariable) != "" {
		flood()
		return
	}
	if addr := os.Getenv(readVariable); addr != "" {
		count, err := strconv.Atoi(os.Getenv(readVariable + "_COUNT"))
		if err == nil {
			err = readLoop(addr, count)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var err error
	if scratch, err = os.MkdirTemp("", "tempestd-integration-"); err == nil {
		program = filepath.Join(scratch, "tempestd")
		plain = filepath.Join(scratch, "plain")
		if err = build(program, raceEnabled); err == nil {
			err = build(plain, false, "-tags", "crashpoints")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// build builds the command from the source tree of the tests.
func build(path string, race bool, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	cgo := "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "../cmd/tempestd")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}
