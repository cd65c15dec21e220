package integration_test

import (
	"iter"
	"strings"
	"syscall"
	"testing"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// A consumer that follows a stream notices only a delay when the daemon is stopped or killed and
// started again.
func TestTailFollowsAcrossARestart(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(1)
	tail := start(t, nil, "tail", feed, "--from-start", "-f", "--json", "--addr", d.addr)
	any := func(string) bool { return true }
	for _, end := range []func(){d.stop, func() { d.kill() }} {
		tail.next("an entry", any)
		end()
		tail.awaitLine("that it waits", func(line string) bool { return strings.HasPrefix(line, "waiting") })
		d.startLive()
		tail.awaitLine("that it goes on", func(line string) bool { return strings.Contains(line, "going on after") })
	}
	d.catchUp(sim)
	last := `{"id":"` + d.info().Newest.String() + `"`
	tail.next("the last entry", func(line string) bool { return strings.HasPrefix(line, last) })

	report, err := sim.sent().Verify(printedEntries(t, tail.out.all()), jetsim.VerifyOptions{})
	if err != nil || !report.OK() || report.Stored == 0 {
		t.Errorf("%v, %v\n%s", report, err, strings.Join(report.Examples, "\n"))
	}
	t.Logf("%v", report)
	tail.signal(syscall.SIGINT)
	if code := tail.wait(); code != 130 {
		t.Errorf("SIGINT: exit code %d", code)
	}
}

// printedEntries yields the events of JSON lines byte for byte. Their IDs must rise.
func printedEntries(t *testing.T, lines []string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		last := messages.EntryID{}
		for _, line := range lines {
			id, rest, ok := strings.Cut(strings.TrimPrefix(line, `{"id":"`), `","event":`)
			if !ok {
				t.Errorf("no entry: %.200s", line)
				return
			}
			this, err := messages.ParseEntryID(id)
			if err != nil || this.Compare(last) <= 0 {
				t.Errorf("entry %s is printed after %v: %v", id, last, err)
			}
			last = this
			if !yield([]byte(strings.TrimSuffix(rest, "}")), nil) {
				return
			}
		}
	}
}
