package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every wait. An operation that takes longer has failed, even on the slowest
// machine.
// It is longer than the two minutes for which a replay may leave open where it begins.
const deadline = 3 * time.Minute

// process is a started command. Only the test's goroutine may call its methods.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, log *lines // standard output and error
	ended    chan struct{}
	read     int    // the number of log lines before the next await
	printed  int    // the number of output lines before the next call of next
	known    string // a fault in the log that the test counts, and does not fail for
}

// start starts the binary in its own directory. From the test's environment it passes only the
// variables that programs need.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startBinary(t, program, env, args...)
}

func startBinary(t testing.TB, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), out: newLines(), log: newLines(), ended: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.cmd.Dir, "TMPDIR=" + p.cmd.Dir, "GORACE=halt_on_error=1 atexit_sleep_ms=0"}, env...)
	p.cmd.SysProcAttr = tied()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is read later
		p.out.end()
		p.log.end()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		p.checkLog()
	})
	return p
}

// run runs a command to its end and returns its exit code.
func run(t testing.TB, args ...string) (code int, p *process) {
	t.Helper()
	p = start(t, nil, args...)
	return p.wait(), p
}

// wait waits for the process to end and returns its exit code, or -1 if a signal killed it.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		p.t.Fatalf("%v does not end\n%s", p.cmd.Args[1:], p.log.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// signal sends a signal. It has no effect on a process that has ended.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends the process abruptly, as a power cut does.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// checkLog fails the test if the log has a fault that no test expects, even if everything else went
// well.
func (p *process) checkLog() {
	all := p.log.all()
	for i, line := range all {
		for _, fault := range []string{"DATA RACE", "panic:", `"actor.failed"`, `"http.panic"`, `"actor.gave_up"`, "SIGSEGV", "SIGBUS"} {
			if strings.Contains(line, fault) && fault != p.known {
				p.t.Errorf("%v: %s", p.cmd.Args[1:], strings.Join(all[i:min(i+20, len(all))], "\n")) // with where it was
			}
		}
	}
	if p.t.Failed() {
		p.t.Logf("the last words of %v (%v):\n%s", p.cmd.Args[1:], p.cmd.ProcessState, p.log.tail())
		// The file is kept with go test -artifacts.
		name := filepath.Join(p.t.ArtifactDir(), fmt.Sprintf("%s-%d.log", p.cmd.Args[1], p.cmd.Process.Pid))
		if err := os.WriteFile(name, []byte(p.log.String()), 0o600); err != nil {
			p.t.Error(err)
		}
	}
}

// record is one record of the daemon's log.
type record map[string]any

func (r record) text(key string) string {
	s, _ := r[key].(string)
	return s
}

func (r record) number(key string) float64 {
	n, _ := r[key].(float64)
	return n
}

// is reports whether the record is of the event and has the fields. fields holds keys and values in
// turns.
func (r record) is(event string, fields []string) bool {
	for i := 0; i < len(fields); i += 2 {
		if r.text(fields[i]) != fields[i+1] {
			return false
		}
	}
	return r.text("event") == event
}

// await waits for the next record of an event with the given fields (keys and values in turns).
func (p *process) await(event string, fields ...string) (found record) {
	p.t.Helper()
	p.awaitLine(event+" "+strings.Join(fields, " "), func(line string) bool {
		if !strings.HasPrefix(line, "{") { // cheaper than parsing a line that is no record
			return false
		}
		found = nil
		return json.Unmarshal([]byte(line), &found) == nil && found.is(event, fields)
	})
	return found
}

// awaitLine waits for the next wanted line of the log.
func (p *process) awaitLine(what string, wanted func(line string) bool) string {
	p.t.Helper()
	line, next := awaitLine(p.t, p.log, p.read, what, wanted)
	p.read = next
	return line
}

// next waits for the next wanted line of the output.
func (p *process) next(what string, wanted func(line string) bool) string {
	p.t.Helper()
	line, next := awaitLine(p.t, p.out, p.printed, what, wanted)
	p.printed = next
	return line
}

// awaitLine waits for a wanted line from number from on, and returns the line and the number after
// it.
func awaitLine(t testing.TB, l *lines, from int, what string, wanted func(line string) bool) (line string, next int) {
	t.Helper()
	late := time.After(deadline)
	for {
		more, changed, ended := l.since(from)
		for i, line := range more {
			if wanted(line) {
				return line, from + i + 1
			}
		}
		from += len(more)
		if ended {
			t.Fatalf("the process ended without %s\n%s", what, l.tail())
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s does not come\n%s", what, l.tail())
		}
	}
}

// records returns all records of an event so far.
func (p *process) records(event string, fields ...string) []record {
	var found []record
	for _, line := range p.log.all() {
		var r record
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &r) == nil && r.is(event, fields) {
			found = append(found, r)
		}
	}
	return found
}

// lines is an output, split into lines. It is safe for concurrent use.
type lines struct {
	mu      sync.Mutex
	whole   []string
	partial []byte
	cut     bool // the last line had no end
	ended   bool
	changed chan struct{} // closed and replaced when there is more
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, b...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			break
		}
		l.whole = append(l.whole, string(line))
		l.partial = rest
	}
	l.wake()
	return len(b), nil
}

func (l *lines) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// end marks the end of the output.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut = len(l.partial) > 0; l.cut {
		l.whole = append(l.whole, string(l.partial))
	}
	l.ended = true
	l.wake()
}

// since returns the lines from number from on, and a channel that is closed when there are more.
func (l *lines) since(from int) (more []string, changed <-chan struct{}, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole[from:len(l.whole):len(l.whole)], l.changed, l.ended
}

func (l *lines) all() []string {
	more, _, _ := l.since(0)
	return more
}

// complete returns the lines without one that the end of the process cut off.
func (l *lines) complete() []string {
	all, _, ended := l.since(0)
	if ended && l.cut {
		return all[:len(all)-1]
	}
	return all
}

// tail returns the last 20 lines, for the message of a failure.
func (l *lines) tail() string {
	all := l.all()
	return strings.Join(all[max(0, len(all)-20):], "\n")
}

// String returns all lines.
func (l *lines) String() string { return strings.Join(l.all(), "\n") }

// eventually polls until a condition holds that no event reports.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	late := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not so after %v", what, deadline)
		}
	}
}

// after waits for a random moment in the life of a process. It does not wait for an operation to
// finish.
func after(d time.Duration) { <-time.After(d) }

// freeAddr returns an address that its user may leave and take again. No process listens there, and
// the port is outside of the range from which the system takes ports for outgoing connections.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port was found")
	return ""
}

// seeded returns the test's random numbers.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("TEMPESTD_TEST_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = given
	}
	t.Logf("TEMPESTD_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between returns a random duration in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// write writes a file into a new directory and returns its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// memory returns a field of the process's status in KiB: VmRSS, VmHWM (the maximum so far), RssAnon
// or RssFile.
func (p *process) memory(field string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if number, isSize := strings.CutSuffix(strings.TrimSpace(value), " kB"); isSize && name == field {
			kib, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				p.t.Fatal(err)
			}
			return kib
		}
	}
	p.t.Fatalf("the process's status has no %s", field)
	return 0
}

// overwrite replaces the content of a file.
func overwrite(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
