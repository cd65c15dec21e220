package integration_test

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/internal/loopdisk"
)

// fireStats counts what happened in all schedules. It is safe for concurrent use.
type fireStats struct {
	mu                                       sync.Mutex
	schedules, failovers                     int // failovers counts schedules
	starts, kills, crashes, starved          int
	readerKills, sent, read                  int64
	lost, doubled, disordered, foreign, gaps int64
	differ                                   int
	faults                                   map[string]int
}

func (s *fireStats) add(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// fireWorld is one run of a schedule: processes that something happens to.
type fireWorld struct {
	t       *testing.T
	s       fireSchedule
	stats   *fireStats
	fleet   *jetsim.Fleet
	nodes   []*fireNode
	readers []*witness
	disk    *loopdisk.Disk // of the embedded store; nil if loopdisk.Without is set
	store   *fireServer    // Valkey
	began   time.Time
	due     []fireEvent
	journal []string
	rate    float64  // events per second
	more    settings // of the daemons
}

// fireNode is a daemon that is started again when it ends, as systemd does.
type fireNode struct {
	*daemon
	up      bool // it was started, and its end was not seen
	held    int  // it must not be started while this is above 0
	arm     []string
	armed   bool  // the running process has a crash point
	excused bool  // the running process may end by itself
	proxy   proxy // between it and its Valkey server
}

// fireEvent is the beginning or the end of a fault.
type fireEvent struct {
	at time.Time
	do func()
}

// fireRate is the number of events per second of a schedule.
const fireRate = 600

// runFire runs a schedule, heals everything, and judges.
func runFire(t *testing.T, s fireSchedule, stats *fireStats) {
	w := &fireWorld{t: t, s: s, stats: stats, rate: fireRate}
	w.begin()
	for _, step := range s.steps {
		w.at(w.began.Add(step.at), func() { w.fault(step) })
	}
	w.pass()
	w.heal()
	w.judge()
}

func (w *fireWorld) note(format string, args ...any) {
	w.journal = append(w.journal, fmt.Sprintf("# %6.2fs ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// begin starts the upstreams, the store, the daemons and the readers, and waits for the first entry:
// before it there is no position to resume from.
func (w *fireWorld) begin() {
	w.began = time.Now()
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("the schedule, which -fire.schedule runs again:\n%s# what happened:\n%s", w.s, strings.Join(w.journal, "\n"))
		}
	})
	options := jetsim.Options{Seed: w.s.seed + 1, Rate: w.rate, Readers: 2, Segment: 3000}
	if w.s.seed%4 < 2 {
		options.Newer = jetsim.AllNewer()
	}
	servers := []jetsim.Options{options}
	if w.s.servers > 1 {
		other := options
		other.FirstSeq, other.Skew = 7_000_000, 2*time.Second
		servers = append(servers, other)
	}
	w.fleet, _, _ = listening(w.t, servers...)
	var endpoints []string
	for _, m := range w.fleet.Members() {
		endpoints = append(endpoints, quoted("ws://"+m.Addr()+w.s.path))
	}
	common := settings{
		"feeds." + feed + ".endpoints":           "[" + strings.Join(endpoints, ", ") + "]",
		"feeds." + feed + ".checkpoint_interval": `"1s"`,
		"log.level":                              `"info"`,
	}
	if w.s.store == "valkey" {
		w.store = newFireServer(w)
	} else {
		w.disk = loopdisk.New(w.t, 128<<20)
	}
	for i := range w.s.nodes {
		n := &fireNode{daemon: newDaemon(w.t, "", common)}
		n.binary = plain
		n.configure(w.more)
		if w.store != nil {
			n.proxy = w.store.join(n, i)
		} else if w.disk != nil {
			n.data = filepath.Join(w.disk.Dir, "data")
			n.configure(settings{"data_dir": quoted(n.data)})
		}
		w.nodes = append(w.nodes, n)
		w.start(n)
	}
	eventually(w.t, "the first entries are stored", func() bool { return w.stored() >= 50 })
	if w.store != nil {
		w.store.awaitReplica()
	}
	var daemons []*daemon
	for _, n := range w.nodes {
		daemons = append(daemons, n.daemon)
	}
	for _, name := range w.s.readers {
		w.readers = append(w.readers, summon(w.t, name, daemons...))
	}
	w.began = time.Now()
}

// stored is the most that a daemon has stored since its start.
func (w *fireWorld) stored() (most uint64) {
	for _, n := range w.nodes {
		most = max(most, n.stored())
	}
	return most
}

func (w *fireWorld) start(n *fireNode) {
	n.env = n.arm
	n.armed, n.excused, n.arm = n.arm != nil, false, nil
	n.daemon.start()
	n.up = true
	w.stats.add(func() { w.stats.starts++ })
}

// at has something done at a time, by the goroutine of the test.
func (w *fireWorld) at(when time.Time, do func()) {
	w.due = append(w.due, fireEvent{when, do})
	slices.SortStableFunc(w.due, func(a, b fireEvent) int { return a.at.Compare(b.at) })
}

// pass lets time pass until everything that is due is done.
func (w *fireWorld) pass() {
	for len(w.due) > 0 {
		next := w.due[0]
		for wait := time.Until(next.at); wait > 0; wait = time.Until(next.at) {
			after(min(wait, 20*time.Millisecond))
			w.keep()
		}
		w.due = w.due[1:]
		next.do()
		w.keep()
	}
}

// keep starts the daemons again that have ended.
func (w *fireWorld) keep() {
	for _, n := range w.nodes {
		if n.up && n.hasEnded() {
			n.up = false
			w.ended(n)
		}
		if !n.up && n.held == 0 {
			w.start(n)
		}
	}
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// terminated is the exit code of a daemon that is stopped while it starts or stops.
const terminated = 128 + int(syscall.SIGTERM)

// ended notes the end of a daemon. It may end by a signal, or in good order.
func (w *fireWorld) ended(n *fireNode) {
	code := n.cmd.ProcessState.ExitCode()
	crashed := strings.Contains(n.log.tail(), "crashpoint ")
	w.stats.add(func() {
		if code == -1 {
			w.stats.kills++
		}
		if crashed {
			w.stats.crashes++
		}
	})
	w.note("%s ended: %v, at a crash point: %v", n.addr, n.cmd.ProcessState, crashed)
	if w.starved(n) {
		n.known = "SIGBUS"
		w.stats.add(func() { w.stats.starved++ })
		return
	}
	if code > 0 && code != terminated && !n.excused {
		w.t.Errorf("a daemon ended by itself with exit code %d\n%s", code, n.log.tail())
	}
}

// starved says whether a daemon died while it wrote a table of its state. Badger maps a new table as a
// sparse file: when something else takes the last block of the disk after the daemon has looked, the
// write is a SIGBUS. The next start goes on, and nothing is lost. The summary counts these ends.
func (w *fireWorld) starved(n *fireNode) bool {
	log := n.log.String()
	filled := slices.ContainsFunc(w.s.steps, func(s fireStep) bool { return s.kind == "full" })
	return filled && strings.Contains(log, "SIGBUS") && strings.Contains(log, "badger/v4/table.CreateTable")
}

// hold ends a daemon and prevents that it is started, until the returned function is called.
func (w *fireWorld) hold(n *fireNode) (release func()) {
	n.held++
	n.kill()
	w.keep()
	return func() { n.held-- }
}

// fault begins a fault, and has it end in time.
func (w *fireWorld) fault(s fireStep) {
	f := fireFaults()[s.kind]
	end, done := f.begin(w, w.nodes[s.node%len(w.nodes)], s)
	if !done {
		w.note("left out: %s", s)
		return
	}
	w.note("%s", s)
	w.stats.add(func() { w.stats.faults[cmp.Or(s.text, s.kind)]++ })
	if end != nil {
		w.at(time.Now().Add(s.lasts), func() {
			w.note("the end of %s of %s", s.kind, s.at)
			end()
		})
	}
}

// heal begins the end: no daemon has a crash point any more.
func (w *fireWorld) heal() {
	for _, n := range w.nodes {
		w.keep()
		if n.armed {
			n.kill()
		}
	}
	w.keep()
	w.note("everything is healed")
}
