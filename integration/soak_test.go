package integration_test

import (
	"flag"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

var (
	soakFor   = flag.Duration("soak.for", 0, "how long a daemon runs under faults; 0 leaves it out")
	soakRate  = flag.Float64("soak.rate", 3000, "events per second")
	soakEvery = flag.Duration("soak.every", 5*time.Second, "the time between two faults")
	soakStore = flag.String("soak.store", "", "only with this store: embedded or valkey")
)

// TestSoak runs a daemon for long, with faults that it survives, and reports how its memory, its
// goroutines, its descriptors and its disk change in the second half. A daemon that was killed would
// begin anew.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("make soak runs it")
	}
	for _, store := range []string{"embedded", "valkey"} {
		if *soakStore == "" || *soakStore == store {
			t.Run(store, func(t *testing.T) { soak(t, store) })
		}
	}
}

// soakFaults are the kinds of faults that leave the process alive.
var soakFaults = map[string][]string{
	"embedded": {"upstream", "upstream", "upstream", "reload", "reader", "burst", "freeze", "descriptors", "full"},
	"valkey":   {"upstream", "upstream", "reload", "reader", "burst", "freeze", "server-freeze", "server-kill", "client-pause", "client-kill", "script-flush", "no-memory", "forbidden", "swallow", "partition", "cut"},
}

func soak(t *testing.T, store string) {
	random := rand.New(rand.NewPCG(1, 5))
	s := fireSchedule{seed: 1, store: store, nodes: 1, servers: 2, path: wires[0].path, durability: "aof", readers: []string{"tail", "sse"}}
	w := &fireWorld{t: t, s: s, stats: &fireStats{faults: map[string]int{}}, rate: *soakRate, more: settings{
		"feeds." + feed + ".retention": `{ entries = 200_000, bytes = "48MiB" }`, // far enough back for a reader on a busy machine
	}}
	w.begin()
	n := w.nodes[0]
	pid := n.cmd.Process.Pid
	var samples []soakSample
	for i := 1; time.Since(w.began) < *soakFor; i++ {
		kinds := soakFaults[store]
		step := fireStep{at: time.Duration(i) * *soakEvery, kind: kinds[random.IntN(len(kinds))], n: 1 + random.IntN(3), text: ""}
		if most := fireFaults()[step.kind].most; most > 0 {
			step.lasts = between(random, most/20, most)
		}
		switch step.kind {
		case "upstream":
			step.text, step.node = upstreamFaults[random.IntN(len(upstreamFaults))], random.IntN(2)
		case "burst":
			step.n = 20_000
		case "descriptors":
			step.n = 2
		}
		w.at(w.began.Add(step.at), func() {
			samples = append(samples, n.sample(w))
			w.fault(step)
		})
		w.pass()
	}
	if now := n.cmd.Process.Pid; now != pid {
		t.Errorf("the daemon was started again: process %d, then %d", pid, now)
	}
	half := samples[len(samples)/2:]
	for name, of := range map[string]func(soakSample) float64{
		"memory, MiB":     func(s soakSample) float64 { return s.memory },
		"heap goal, MiB":  func(s soakSample) float64 { return s.heapGoal },
		"goroutines":      func(s soakSample) float64 { return s.goroutines },
		"descriptors":     func(s soakSample) float64 { return s.descriptors },
		"disk, MiB":       func(s soakSample) float64 { return s.disk },
		"kept entries, k": func(s soakSample) float64 { return s.entries / 1000 },
	} {
		perHour, sigma := slope(half, of)
		t.Logf("%-16s first %8.1f, at half time %8.1f, last %8.1f, most %8.1f; slope in the second half %+.2f ± %.2f an hour",
			name, of(samples[0]), of(half[0]), of(samples[len(samples)-1]), most(samples, of), perHour, sigma)
	}
	w.heal()
	w.judge()
	t.Logf("%s", w.stats)
}

// soakSample is what a process uses at a moment.
type soakSample struct {
	at                      time.Time
	memory                  float64
	heapGoal                float64 // twice what the last collection found alive: it has no garbage in it
	goroutines, descriptors float64
	disk, entries           float64
}

var runtimeMetric = regexp.MustCompile(`(?m)^(go_goroutines|go_memstats_next_gc_bytes) (\S+)`)

func (n *fireNode) sample(w *fireWorld) soakSample {
	s := soakSample{at: time.Now(), memory: float64(n.memory("RssAnon")) / 1024, descriptors: float64(n.descriptors())}
	for _, m := range runtimeMetric.FindAllStringSubmatch(n.get(w.t, "/metrics").body, -1) {
		value, _ := strconv.ParseFloat(m[2], 64)
		if m[1] == "go_goroutines" {
			s.goroutines = value
		} else {
			s.heapGoal = value / (1 << 20)
		}
	}
	dir := n.data
	if w.store != nil {
		dir = w.store.primary.Dir()
	}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				s.disk += float64(info.Size()) / (1 << 20)
			}
		}
		return nil // a file may be removed meanwhile
	})
	if info, err := n.Stream(w.t.Context(), feed); err == nil {
		s.entries = float64(info.Entries)
	}
	return s
}

func most(samples []soakSample, of func(soakSample) float64) (most float64) {
	for _, s := range samples {
		most = max(most, of(s))
	}
	return most
}

// slope is the slope of the line that fits best, per hour, with its standard error: samples that
// scatter much show little in a short run.
func slope(samples []soakSample, of func(soakSample) float64) (perHour, sigma float64) {
	n := float64(len(samples))
	var meanX, meanY float64
	x := func(s soakSample) float64 { return s.at.Sub(samples[0].at).Hours() }
	for _, s := range samples {
		meanX, meanY = meanX+x(s)/n, meanY+of(s)/n
	}
	var xx, xy, yy float64
	for _, s := range samples {
		dx, dy := x(s)-meanX, of(s)-meanY
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	if n < 3 || xx == 0 {
		return 0, 0
	}
	perHour = xy / xx
	return perHour, math.Sqrt(max(yy-perHour*xy, 0) / (n - 2) / xx)
}
