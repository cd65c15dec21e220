package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/valkeytest"
)

// canonicalNumber is the sequence number in an event's canonical form.
var canonicalNumber = regexp.MustCompile(`"cursor":\d+,`)

// example is a program of examples/, with what its position is kept in, which outlives it.
type example struct {
	name     string
	exactly  bool // it promises to handle every event once, and else at least once
	numbered bool // it is given the mirror's numbers, and not the upstream's
	start    func() *process
	read     func() []string // what it has handled, in order; nil for the lines that it printed

	runs []*process
}

// restart starts the example, for the first time or after it was killed.
func (e *example) restart() { e.runs = append(e.runs, e.start()) }

func (e *example) running() *process { return e.runs[len(e.runs)-1] }

// goesOn waits until the example has printed some more.
func (e *example) goesOn() {
	p := e.running()
	p.t.Helper()
	n := len(p.out.all()) + 20
	eventually(p.t, e.name+" goes on", func() bool { return len(p.out.all()) >= n })
}

// handled is what all of its runs have handled.
func (e *example) handled() (all []string) {
	if e.read != nil {
		return e.read()
	}
	for _, p := range e.runs {
		all = append(all, p.out.complete()...) // a kill may cut off the last line
	}
	return all
}

// python is the interpreter, and not what stands in for it on a machine that has several.
func python(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatalf("the examples need Python 3, which .ci/needs installs: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// nodeExample is where an example stands beside the packages that it imports.
func nodeExample(t *testing.T, script string) string {
	t.Helper()
	dir, err := clients()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "example-"+script)
	overwrite(t, to, []byte(page(t, "examples/node/"+script)))
	return to
}

// examplesOf are those that need nothing but a daemon.
func examplesOf(t *testing.T, d *daemon) (all []*example) {
	t.Helper()
	interpreter, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("the examples need Node.js, which .ci/needs installs: %v", err)
	}
	py, state := python(t), t.TempDir()
	http, ws := "http://"+d.addr+"/v1/streams/"+feed, "ws://"+d.addr
	add := func(name, address, kept string) *example {
		path, program := filepath.Join("..", "examples", filepath.FromSlash(name)), py
		if script, ok := strings.CutPrefix(name, "node/"); ok {
			path, program = nodeExample(t, script), interpreter
		}
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		e := &example{name: name, start: func() *process { return startBinary(t, program, nil, path, address, kept) }}
		all = append(all, e)
		return e
	}
	db := filepath.Join(state, "events.db")
	tail := add("python/tail.py", http, db)
	tail.exactly = true
	tail.read = func() []string {
		dump := exec.Command(py, "-c", "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute('SELECT event FROM events ORDER BY rowid'): print(row[0])", db)
		out, err := dump.Output()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(out)))
	}
	add("python/sse.py", http, filepath.Join(state, "sse.py"))
	add("python/consumer.py", http, "indexer")
	add("node/tail.mjs", http, filepath.Join(state, "tail.mjs"))
	add("node/sse.mjs", http, filepath.Join(state, "sse.mjs"))
	add("node/durable.mjs", "http://"+d.addr+"/streams/"+feed, filepath.Join(state, "durable.mjs"))
	add("node/skyware.mjs", ws+"/subscribe", filepath.Join(state, "skyware.mjs")).numbered = true
	add("node/atcute.mjs", ws, filepath.Join(state, "atcute.mjs")).numbered = true
	return all
}

// checkHandled waits until the example has handled the last event, and checks that it has handled every event, in order but for what it was given again, and nothing else.
func (e *example) checkHandled(t *testing.T, want []string) {
	t.Helper()
	form := func(line string) string {
		line = canonical(t, []byte(line))
		if e.numbered {
			return canonicalNumber.ReplaceAllString(line, "")
		}
		return line
	}
	if e.numbered {
		plain := make([]string, len(want))
		for i := range want {
			plain[i] = canonicalNumber.ReplaceAllString(want[i], "")
		}
		want = plain
	}
	eventually(t, e.name+" handles the last event", func() bool {
		lines := e.running().out.all()
		if e.read != nil {
			lines = e.read()
		}
		return len(lines) > 0 && form(lines[len(lines)-1]) == want[len(want)-1]
	})
	handled := e.handled()
	seen, first := make(map[string]bool, len(want)), make([]string, 0, len(want))
	for _, line := range handled {
		if event := form(line); !seen[event] {
			seen[event] = true
			first = append(first, event)
		}
	}
	if !slices.Equal(first, want) {
		at := 0
		for at < min(len(first), len(want)) && first[at] == want[at] {
			at++
		}
		t.Errorf("%s handled %d events, want %d; the first difference is at %d", e.name, len(first), len(want), at)
	}
	if again := len(handled) - len(first); e.exactly && again > 0 {
		t.Errorf("%s handled %d events more than once", e.name, again)
	} else {
		t.Logf("%s: %d events, %d of them again", e.name, len(first), again)
	}
}

// checkOnceARun checks that no run of the example has handled an event twice, whatever became of the daemon.
func (e *example) checkOnceARun(t *testing.T) {
	t.Helper()
	for _, p := range e.runs {
		lines := p.out.all()
		if all := len(lines); all != len(slices.Compact(slices.Sorted(slices.Values(lines)))) {
			t.Errorf("%s handled events more than once in a run", e.name)
		}
	}
}

// The examples follow a daemon that is killed and started again, are killed and started again themselves, and have handled every event in the end.
func TestExamples(t *testing.T) {
	t.Parallel()
	if _, err := clients(); err != nil { // which may take a while
		t.Fatal(err)
	}
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(50)
	all := examplesOf(t, d)
	each := func(do func(e *example)) {
		for _, e := range all {
			do(e)
		}
	}
	each((*example).restart)
	each((*example).goesOn)
	d.kill()
	d.startLive()
	each((*example).goesOn)
	each(func(e *example) { e.running().kill() })
	each((*example).restart)
	each((*example).goesOn)
	d.kill()
	d.startLive()
	d.awaitStored(50)
	d.exact(sim)
	want := d.canonicalFrames(t)
	each(func(e *example) { e.checkHandled(t, want) })
	for _, e := range all {
		if e.numbered || e.name == "node/durable.mjs" {
			e.checkOnceARun(t)
		}
	}
}

// The example in Go follows the same way, where the streams are in a server.
func TestExamplesGo(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", binary, "../examples/go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	server := valkeytest.Start(t, valkeytest.Options{})
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), onValkey(server))
	d.startLive()
	d.awaitStored(50)
	kept := filepath.Join(t.TempDir(), "position")
	e := &example{name: "go", start: func() *process { return startBinary(t, binary, nil, server.Addr, feed, kept) }}
	e.restart()
	e.goesOn()
	d.kill()
	d.startLive()
	e.goesOn()
	e.running().kill()
	e.restart()
	e.goesOn()
	d.exact(sim)
	e.checkHandled(t, d.canonicalFrames(t))
}
