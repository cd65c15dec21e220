//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Variable is the environment variable that names the point.
const Variable = "TEMPESTD_CRASHPOINT"

// left counts down the passes of the armed point.
var left atomic.Int64

// armed reads the environment once.
var armed = sync.OnceValue(func() Point {
	name, text, counted := strings.Cut(os.Getenv(Variable), ":")
	left.Store(1)
	if n, err := strconv.ParseInt(text, 10, 64); counted && err == nil {
		left.Store(n)
	}
	return Point(name)
})

// Pass kills the process if this is the pass that the environment names. It is safe for concurrent
// use.
func Pass(p Point) {
	if armed() != p || left.Add(-1) != 0 {
		return
	}
	fmt.Fprintln(os.Stderr, "crashpoint", p)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // a process may always signal itself
	select {}                                      // the caller must do no step more
}
