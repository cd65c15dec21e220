package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tempestd/internal/crashpoint"
)

// fireSchedule is everything that a seed decides. Real time decides the rest, so a run of the same
// schedule is similar and not the same.
type fireSchedule struct {
	seed       uint64
	store      string // "embedded" or "valkey"
	nodes      int    // daemons
	servers    int    // upstreams
	path       string // of the upstream's protocol
	durability string // of Valkey
	readers    []string
	steps      []fireStep
}

// fireStep is one fault. It begins at a time since the run's beginning, and may last.
type fireStep struct {
	at    time.Duration
	kind  string
	node  int
	lasts time.Duration
	n     int
	text  string // its meaning depends on the kind
}

const (
	fireQuiet   = 300 * time.Millisecond // before the first fault
	fireSpacing = 800 * time.Millisecond // the most between two faults
)

// drawFire draws the schedule of a seed.
func drawFire(seed uint64, store string, only []string, most int) fireSchedule {
	rnd := rand.New(rand.NewPCG(seed, 3))
	s := fireSchedule{seed: seed, store: []string{"valkey", "embedded"}[seed%2], nodes: 1, servers: 1 + rnd.IntN(2), path: wires[rnd.IntN(2)].path}
	if store != "" {
		s.store = store
	}
	if s.store == "valkey" {
		s.nodes = 1 + rnd.IntN(2)
		s.durability = []string{"memory", "aof", "replicas"}[rnd.IntN(3)]
	}
	for _, name := range []string{"tail", "sse", "command", "consumer"} {
		if len(s.readers) == 0 || rnd.IntN(2) == 0 {
			s.readers = append(s.readers, name)
		}
	}
	var able []string
	for name, f := range fireFaults() {
		if (f.store == "" || f.store == s.store) && (len(only) == 0 || slices.Contains(only, name)) && (f.fits == nil || f.fits(&s)) {
			able = append(able, name)
		}
	}
	slices.Sort(able)
	if len(able) == 0 {
		return s
	}
	failover := slices.Contains(able, "failover")
	// Few kinds in one schedule compose better than a little of everything.
	rnd.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
	able = able[:min(len(able), 2+rnd.IntN(5))]
	at := fireQuiet
	for range min(most, 4+rnd.IntN(max(most-3, 1))) {
		at += between(rnd, 0, fireSpacing).Round(time.Millisecond)
		step := fireStep{at: at, kind: able[rnd.IntN(len(able))], node: rnd.IntN(s.nodes)}
		if f := fireFaults()[step.kind]; f.most > 0 {
			step.lasts = between(rnd, f.most/20, f.most).Round(time.Millisecond)
		}
		switch step.kind {
		case "crash":
			points := firePoints(s.store, s.durability)
			step.text, step.n = string(points[rnd.IntN(len(points))]), 1+rnd.IntN(6)
		case "upstream":
			step.text = upstreamFaults[rnd.IntN(len(upstreamFaults))]
			step.node = rnd.IntN(s.servers)
		case "upstream-kill", "upstream-freeze":
			step.node = rnd.IntN(s.servers)
		case "torn":
			step.text = tornKinds[rnd.IntN(len(tornKinds))]
		case "reader", "descriptors":
			step.n = rnd.IntN(4)
		case "burst":
			step.n = 500 + rnd.IntN(5000)
		}
		s.steps = append(s.steps, step)
	}
	if failover && seed%4 == 0 { // one kind of many would come too seldom for the worst that a server does
		step := &s.steps[rnd.IntN(len(s.steps))]
		*step = fireStep{at: step.at, kind: "failover", lasts: between(rnd, failoverMost/20, failoverMost).Round(time.Millisecond)}
	}
	return s
}

// shrunk drops faults from a schedule that fails, one at a time, as long as it still fails. It tries
// at most so many schedules. One that happens to pass keeps its fault.
func shrunk(s fireSchedule, most int, fails func(fireSchedule) bool) (shortest fireSchedule, tries int) {
	for before := -1; before != len(s.steps); {
		before = len(s.steps)
		for i := len(s.steps) - 1; i >= 0 && len(s.steps) > 1; i-- {
			if tries == most {
				return s, tries
			}
			tries++
			shorter := s
			shorter.steps = slices.Delete(slices.Clone(s.steps), i, i+1)
			if fails(shorter) {
				s = shorter
			}
		}
	}
	return s, tries
}

// firePoints are the crash points that a daemon passes by itself, within seconds.
func firePoints(store, durability string) []crashpoint.Point {
	points := []crashpoint.Point{crashpoint.WriterAppend, crashpoint.WriterAppended, crashpoint.CursorSave, crashpoint.CursorSaved}
	if store == "valkey" {
		points = append(points, crashpoint.ValkeyStored, crashpoint.LeaseAcquired, crashpoint.LeaseRenewed)
		if durability != "memory" {
			points = append(points, crashpoint.ValkeyDurable)
		}
		return points
	}
	return append(points, crashpoint.AppendWrite, crashpoint.AppendWritten, crashpoint.AppendSynced, crashpoint.SegmentTaken,
		crashpoint.SegmentFooter, crashpoint.SegmentSealed, crashpoint.RecoverUnsealed, crashpoint.RecoverErased)
}

// String returns the schedule in the form that parseFire reads.
func (s fireSchedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nworld %s nodes=%d servers=%d path=%s durability=%s readers=%s\n", s.seed, s.store, s.nodes, s.servers, s.path, s.durability, strings.Join(s.readers, ","))
	for _, step := range s.steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

func (s fireStep) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s node=%d for=%s n=%d %s", s.at, s.kind, s.node, s.lasts, s.n, s.text))
}

// parseFire reads what fireSchedule.String returns. Empty lines and lines that begin with # are
// ignored.
func parseFire(text string) (s fireSchedule, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#':
		case words[0] == "seed" && len(words) == 2:
			s.seed, err = strconv.ParseUint(words[1], 10, 64)
		case words[0] == "world" && len(words) == 7:
			var readers string
			s.store = words[1]
			_, err = fmt.Sscanf(strings.Join(words[2:4], " "), "nodes=%d servers=%d", &s.nodes, &s.servers)
			s.path, s.durability, readers = strings.TrimPrefix(words[4], "path="), strings.TrimPrefix(words[5], "durability="), strings.TrimPrefix(words[6], "readers=")
			s.readers = strings.Split(readers, ",")
		default:
			var step fireStep
			step, err = parseFireStep(words)
			s.steps = append(s.steps, step)
		}
		if err != nil {
			return s, fmt.Errorf("line %q: %w", line, err)
		}
	}
	return s, nil
}

func parseFireStep(words []string) (s fireStep, err error) {
	if len(words) < 5 {
		return s, fmt.Errorf("want a time, the name of a fault, node=, for= and n=")
	}
	if s.at, err = time.ParseDuration(words[0]); err != nil {
		return s, err
	}
	s.kind = words[1]
	if _, known := fireFaults()[s.kind]; !known {
		return s, fmt.Errorf("there is no fault %q", s.kind)
	}
	if _, err = fmt.Sscanf(words[2]+" "+words[4], "node=%d n=%d", &s.node, &s.n); err != nil {
		return s, err
	}
	s.lasts, err = time.ParseDuration(strings.TrimPrefix(words[3], "for="))
	s.text = strings.Join(words[5:], " ")
	return s, err
}

func TestAScheduleOfRealFaultsIsItsText(t *testing.T) {
	for seed := range uint64(200) {
		s := drawFire(seed, "", nil, 12)
		again, err := parseFire(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%v; %s is read as %s", err, s, again)
		}
	}
}

func TestSchedulesOfRealFaultsHaveFailovers(t *testing.T) {
	for first := uint64(0); first < 1000; first += 50 {
		with := 0
		for seed := first; seed < first+50; seed++ {
			if slices.ContainsFunc(drawFire(seed, "", nil, 14).steps, func(s fireStep) bool { return s.kind == "failover" }) {
				with++
			}
		}
		if with < 12 {
			t.Errorf("%d of the 50 schedules from seed %d on have one", with, first)
		}
	}
}

func TestAScheduleThatFailsIsShrunk(t *testing.T) {
	s := drawFire(5, "", nil, 14)
	// It fails with two of its faults.
	first, second := s.steps[1], s.steps[len(s.steps)-2]
	fails := func(s fireSchedule) bool { return slices.Contains(s.steps, first) && slices.Contains(s.steps, second) }
	got, tries := shrunk(s, 100, fails)
	if !slices.Equal(got.steps, []fireStep{first, second}) || got.seed != s.seed || tries > 3*len(s.steps) {
		t.Errorf("%d tries: %v", tries, got)
	}
	if got, tries := shrunk(s, 3, fails); tries != 3 || !fails(got) || len(got.steps) > len(s.steps)-2 {
		t.Errorf("%d tries: %v", tries, got)
	}
}
