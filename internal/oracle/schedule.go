package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule is everything that happens to a daemon in one run, drawn before the run. The seed gives
// the network's contents and every small choice of the run, the world is where it happens, and the
// steps are the faults.
type Schedule struct {
	Seed  uint64
	World Setup
	Steps []Step
}

// Step is one fault and its time.
type Step struct {
	At     time.Duration // since the run's beginning
	Kind   Kind
	Server int           // of a fault of a server
	Node   int           // of a fault of a daemon
	For    time.Duration // how long it lasts, 0 if it does not last
	N      int           // its meaning depends on the kind
	Point  string        // where an actor panics
}

// Kind is the name of a kind of faults.
type Kind string

// horizon is how long faults may begin, at most. After it everything is healed.
const horizon = 8 * time.Minute

// warmUp is how long a run goes well at first, so that the feed has a position.
const warmUp = 10 * time.Second

// Draw draws the schedule of a seed. kinds restricts it to these kinds; nil allows all that the
// seed's setup has.
func Draw(seed uint64, kinds []Kind) Schedule {
	s := Schedule{Seed: seed, World: drawSetup(seed)}
	s.World.drawReaders(seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	var able []Kind
	for _, k := range Kinds() {
		if faults[k].fits(&s.World) && (kinds == nil || slices.Contains(kinds, k)) {
			able = append(able, k)
		}
	}
	if len(able) == 0 {
		return s
	}
	able = choose(rnd, able)
	if slices.Contains(able, "forget") || slices.Contains(able, "forget-away") {
		// A gap entry says by time what is missing. The times of a server whose clock was wrong do not
		// tell what it has dropped.
		able = slices.DeleteFunc(able, func(k Kind) bool { return k == "clock-back" || k == "clock-ahead" || k == "future-event" })
	}
	if slices.Contains(able, "end-lost") {
		// What a stream has lost has its IDs again only if its server still has it as it was.
		able = slices.DeleteFunc(able, func(k Kind) bool { return faults[k].ofServer && slices.Contains(changesHistory, k) })
	}
	undated := slices.ContainsFunc(s.World.Servers, func(o Server) bool { return o.Undated })
	if undated && (slices.Contains(able, "reload") || slices.Contains(able, "wishes")) {
		// After a change of the filter nothing proves a replay by time. In the future of a server that does
		// not tell its clock nothing can be asked for.
		able = slices.DeleteFunc(able, func(k Kind) bool { return k == "clock-back" || k == "clock-ahead" || k == "future-event" })
	}
	if len(able) == 0 {
		return s
	}
	first := s.World.quiet()
	last := first + between(rnd, 0, horizon-first)
	for range 1 + rnd.IntN(10) {
		k := able[rnd.IntN(len(able))]
		step := Step{At: between(rnd, first, last), Kind: k, Server: rnd.IntN(len(s.World.Servers)), Node: rnd.IntN(max(s.World.Nodes, 1))}
		if faults[k].draw != nil {
			faults[k].draw(rnd, &step)
		}
		s.Steps = append(s.Steps, step)
	}
	// Faults that meet each other find more than those that are far apart: they begin together, or one
	// begins as the other ends.
	for i := 1; i < len(s.Steps); i++ {
		switch before := s.Steps[i-1]; rnd.IntN(4) {
		case 0, 1:
			s.Steps[i].At = before.At + between(rnd, 0, 5*time.Second)
		case 2:
			s.Steps[i].At = max(before.At, before.At+before.For+between(rnd, -5*time.Second, 5*time.Second))
		}
	}
	if s.World.Early {
		s.Steps[0].At = between(rnd, first, youthful)
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return s
}

func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	d := least + time.Duration(rnd.Int64N(int64(most-least)+1))
	return d.Round(time.Millisecond)
}

// String returns the schedule in the form that Parse reads: the seed, the world, and a line for each
// step.
func (s Schedule) String() string {
	var b strings.Builder
	world, err := json.Marshal(s.World)
	if err != nil {
		panic(err) // it has only numbers and booleans
	}
	fmt.Fprintf(&b, "seed %d\nworld %s\n", s.Seed, world)
	for _, step := range s.Steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// String returns the step in the form that Parse reads, as "1m2.5s crash server=0 for=3s".
func (s Step) String() string {
	f := faults[s.Kind]
	text := fmt.Sprintf("%s %s", s.At, s.Kind)
	if f.ofServer {
		text += fmt.Sprintf(" server=%d", s.Server)
	}
	if s.Node != 0 && f.ofNode {
		text += fmt.Sprintf(" node=%d", s.Node)
	}
	if s.For != 0 {
		text += fmt.Sprintf(" for=%s", s.For)
	}
	if s.N != 0 {
		text += fmt.Sprintf(" n=%d", s.N)
	}
	if s.Point != "" {
		text += fmt.Sprintf(" point=%q", s.Point)
	}
	return text
}

// Parse reads what Schedule.String returns. Empty lines and lines that begin with # are ignored.
func Parse(text string) (s Schedule, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "seed "):
			s.Seed, err = strconv.ParseUint(strings.TrimPrefix(line, "seed "), 10, 64)
		case strings.HasPrefix(line, "world "):
			err = json.Unmarshal([]byte(strings.TrimPrefix(line, "world ")), &s.World)
		default:
			var step Step
			step, err = parseStep(line)
			s.Steps = append(s.Steps, step)
		}
		if err != nil {
			return s, fmt.Errorf("oracle: line %q: %w", line, err)
		}
	}
	return s, nil
}

func parseStep(line string) (s Step, err error) {
	line, point, quoted := strings.Cut(line, ` point=`)
	if quoted {
		if s.Point, err = strconv.Unquote(point); err != nil {
			return s, err
		}
	}
	words := strings.Fields(line)
	if len(words) < 2 {
		return s, fmt.Errorf("want a time and the name of a fault")
	}
	if s.At, err = time.ParseDuration(words[0]); err != nil {
		return s, err
	}
	s.Kind = Kind(words[1])
	if _, known := faults[s.Kind]; !known {
		return s, fmt.Errorf("there is no fault %q", s.Kind)
	}
	for _, word := range words[2:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "server":
			s.Server, err = strconv.Atoi(value)
		case "node":
			s.Node, err = strconv.Atoi(value)
		case "for":
			s.For, err = time.ParseDuration(value)
		case "n":
			s.N, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("there is no %q", name)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}
