package jetsim_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/jetsim"
)

func TestOptionsAreValidated(t *testing.T) {
	for name, opt := range map[string]jetsim.Options{
		"accounts":         {Accounts: 1_000_001},
		"negative rate":    {Rate: -1},
		"rate of nothing":  {Rate: math.NaN()},
		"hopeless rate":    {Rate: 1e-9},
		"rate of a flood":  {Rate: 1, Flood: true},
		"negative count":   {Count: -1},
		"negative backlog": {Backlog: -1},
		"segment":          {Segment: -1},
		"lookback":         {Lookback: -time.Second},
		"unknown fault":    {Faults: []jetsim.Fault{{Name: "explode"}}},
		"negative fault":   {Faults: []jetsim.Fault{{Name: "stall", After: -1}}},
		"path":             {Path: t.TempDir()},
	} {
		if s, err := jetsim.New(opt); err == nil {
			t.Errorf("%s: %+v is accepted", name, opt)
			s.Close()
		}
	}
}

func TestOneEventAnHourForAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, end := startPiped(t, jetsim.Options{Rate: 1.0 / 3600})
		defer end()
		time.Sleep(7*24*time.Hour + time.Minute) // virtual time
		if n := s.Stats().Contents; n < 168 || n > 168+8 {
			t.Errorf("%d events in a week", n)
		}
	})
}

func TestCountEndsProduction(t *testing.T) {
	s := start(t, jetsim.Options{Flood: true, Count: 1000})
	c := subscribe(t, s, "")
	frames := c.read(1000)
	s.Produce(10)
	if r := verify(t, s, frames, jetsim.VerifyOptions{}); !r.OK() || r.Sent != 1000 || s.Stats().Contents != 1000 {
		t.Errorf("%v of %+v", r, s.Stats())
	}
}
