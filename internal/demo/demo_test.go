package demo_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tempestd/internal/demo"
	"tempestd/internal/jetsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemoThatIsInterruptedStillCompares(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt := demo.Options{For: time.Hour, Rate: 1000, Log: func(string) {}}
	opt.Watch = func(s demo.Snapshot) {
		if s.Tailed > 100 {
			cancel()
		}
	}
	result, err := demo.Run(ctx, opt)
	if err != nil || !result.Report.OK() || result.Report.Stored <= 100 {
		t.Errorf("%v, %v", err, result.Report)
	}
}

func TestMissedFaultsAreNamed(t *testing.T) {
	if missed := demo.Missed(20 * time.Second); len(missed) > 0 {
		t.Errorf("20 s have no time for %v", missed)
	}
	if got, want := demo.Missed(5*time.Second), []string{jetsim.FaultCrash, jetsim.FaultHalfOpen, jetsim.FaultStall}; !slices.Equal(got, want) {
		t.Errorf("5 s have no time for %v, want %v", got, want)
	}
}
