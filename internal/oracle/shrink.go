package oracle

import (
	"slices"
	"time"
)

// Shrink makes a bad run's schedule smaller for as long as its run stays bad: it drops steps, by
// halves and then one by one, and then shortens what is left. It makes at most budget runs, and
// returns the smallest bad one.
func Shrink(bad Verdict, budget int, run func(Schedule) Verdict) Verdict {
	s := shrinking{best: bad, budget: budget, run: run}
	for size := (len(bad.Schedule.Steps) + 1) / 2; size >= 1; size /= 2 {
		s.drop(size)
	}
	for s.shorten() || s.drop(1) {
	}
	return s.best
}

type shrinking struct {
	best   Verdict
	budget int
	run    func(Schedule) Verdict
}

// try runs the schedule with other steps, and keeps it if the run is bad in the same way.
func (s *shrinking) try(steps []Step) bool {
	if s.budget--; s.budget < 0 {
		return false
	}
	again := s.best.Schedule
	again.Steps = steps
	v := s.run(again)
	same := v.Bad() && v.Differences[0].Kind == s.best.Differences[0].Kind
	if same {
		s.best = v
	}
	return same
}

// drop tries to leave out size steps in a row, anywhere.
func (s *shrinking) drop(size int) (smaller bool) {
	for at := 0; at < len(s.best.Schedule.Steps); {
		steps := s.best.Schedule.Steps
		end := min(at+size, len(steps))
		if s.try(slices.Concat(steps[:at], steps[end:])) {
			smaller = true
		} else {
			at += size
		}
	}
	return smaller
}

// shorten tries shorter faults, smaller numbers and rounder times, a step at a time.
func (s *shrinking) shorten() (smaller bool) {
	for i := range s.best.Schedule.Steps {
		for _, change := range []func(*Step){
			func(step *Step) { step.N = min(step.N, 1) },
			func(step *Step) { step.N /= 2 },
			func(step *Step) { step.For = (step.For / 2).Truncate(time.Second) },
			func(step *Step) { step.For = step.For.Truncate(time.Second) },
			func(step *Step) { step.At = step.At.Truncate(time.Second) },
		} {
			steps := slices.Clone(s.best.Schedule.Steps)
			before := steps[i]
			change(&steps[i])
			valid := steps[i].At >= s.best.Schedule.World.quiet() && (steps[i].N != 0) == (before.N != 0) && (i == 0 || steps[i].At >= steps[i-1].At)
			if steps[i] != before && valid && s.try(steps) {
				smaller = true
			}
		}
	}
	return smaller
}
