package pace_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts/pace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// begin asks for a turn beside the test.
func begin(ctx context.Context, p *pace.Hosts, host string) <-chan *pace.Turn {
	got := make(chan *pace.Turn, 1)
	go func() {
		turn, _ := p.Begin(ctx, host)
		got <- turn
	}()
	return got
}

// advance moves the clock step by step for as long as a turn is waited for.
func advance(clock *clockwork.FakeClock, got <-chan *pace.Turn, step time.Duration) *pace.Turn {
	for {
		ctx, cancel := context.WithCancel(context.Background())
		waits := make(chan struct{})
		go func() {
			defer close(waits)
			_ = clock.BlockUntilContext(ctx, 1)
		}()
		select {
		case turn := <-got:
			cancel()
			<-waits
			return turn
		case <-waits:
			cancel()
			clock.Advance(step)
		}
	}
}

func block(t *testing.T, clock *clockwork.FakeClock, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := clock.BlockUntilContext(ctx, n); err != nil {
		t.Fatalf("%d do not wait: %v", n, err)
	}
}

// One request after the other, each answered: how long n of them take, and at which rate the host
// then is.
func TestRateGrowsSlowlyAndHalves(t *testing.T) {
	for _, row := range []struct {
		name   string
		status []int // in turn, again and again
		n      int
		took   time.Duration // at most, and at least a tenth less
		rate   float64
	}{
		{"all good", []int{200}, 21, 8 * time.Second, 3.05},
		{"until the highest rate", []int{200}, 400, 56 * time.Second, 10},
		{"refusals", []int{429}, 4, 7 * time.Second, 0.125},
		{"failures", []int{500, 503, 0}, 4, 7 * time.Second, 0.125},
		{"never again slower than one a minute", []int{502}, 12, 365 * time.Second, 1.0 / 60},
		{"a bad one among good ones", []int{200, 200, 200, 429}, 8, 4900 * time.Millisecond, 0.6125},
		{"what is asked wrongly is no failure", []int{400, 404, 401}, 21, 8 * time.Second, 3.05},
	} {
		t.Run(row.name, func(t *testing.T) {
			clock := clockwork.NewFakeClockAt(epoch)
			p := pace.New(pace.Options{Clock: clock})
			for i := range row.n {
				advance(clock, begin(t.Context(), p, "pds.example"), row.took/1000).End(row.status[i%len(row.status)], nil)
			}
			if got := p.Rate("pds.example"); math.Abs(got-row.rate) > 0.001 {
				t.Errorf("the rate is %v, want %v", got, row.rate)
			}
			if took := clock.Since(epoch); took > row.took*11/10 || took < row.took*8/10 {
				t.Errorf("%d requests took %v, want about %v", row.n, took, row.took)
			}
		})
	}
}

// lateClock goes on by a minute before a timer is set, as a clock may.
type lateClock struct{ *clockwork.FakeClock }

func (c lateClock) NewTimer(d time.Duration) clockwork.Timer {
	c.Advance(time.Minute)
	return c.FakeClock.NewTimer(d)
}

func TestAWaitThatIsOverBeforeItsTimerIsSetEnds(t *testing.T) {
	p := pace.New(pace.Options{Clock: lateClock{clockwork.NewFakeClockAt(epoch)}, Start: 1e6})
	turn, err := p.Begin(t.Context(), "pds.example")
	if err != nil {
		t.Fatal(err)
	}
	turn.End(http.StatusTooManyRequests, http.Header{"Retry-After": {"30"}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if turn, err = p.Begin(ctx, "pds.example"); err != nil {
		t.Fatalf("the wait of 30 s did not end: %v", err)
	}
	turn.End(http.StatusOK, nil)
}

// What a host says is honoured, without a cap, and can be seen.
func TestHostsSayWhenToComeAgain(t *testing.T) {
	date := epoch.Add(90 * time.Second).Format(http.TimeFormat) // their clock is ahead
	for name, row := range map[string]struct {
		status int
		header map[string]string
		want   time.Duration // 0: nothing is waited for
	}{
		"seconds":                      {429, map[string]string{"Retry-After": "30"}, 30 * time.Second},
		"six hours":                    {429, map[string]string{"Retry-After": "21600"}, 6 * time.Hour},
		"a year":                       {503, map[string]string{"Retry-After": "31536000"}, 365 * 24 * time.Hour},
		"a date":                       {429, map[string]string{"Date": date, "Retry-After": epoch.Add(150 * time.Second).Format(http.TimeFormat)}, time.Minute},
		"a reset as Unix time":         {429, map[string]string{"RateLimit-Reset": fmt.Sprint(epoch.Add(300 * time.Second).Unix())}, 300 * time.Second},
		"a reset by their clock":       {429, map[string]string{"Date": date, "RateLimit-Reset": fmt.Sprint(epoch.Add(300 * time.Second).Unix())}, 210 * time.Second},
		"a reset in seconds":           {429, map[string]string{"RateLimit-Reset": "45"}, 45 * time.Second},
		"used up":                      {200, map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "45"}, 45 * time.Second},
		"not used up":                  {200, map[string]string{"RateLimit-Remaining": "17", "RateLimit-Reset": "45"}, 0},
		"a refusal that says nothing":  {429, nil, 0},
		"a reset that is past":         {429, map[string]string{"RateLimit-Reset": "1000000001"}, 0},
		"what is no time":              {429, map[string]string{"Retry-After": "soon", "RateLimit-Reset": "-1"}, 0},
		"a number beyond every number": {429, map[string]string{"Retry-After": "18446744073709551615"}, (1 << 32) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clockwork.NewFakeClockAt(epoch)
			var told []pace.Wait
			p := pace.New(pace.Options{Clock: clock, Start: 1e6, Told: func(w pace.Wait) { told = append(told, w) }})
			header := http.Header{}
			for key, value := range row.header {
				header.Set(key, value)
			}
			(<-begin(t.Context(), p, "pds.example")).End(row.status, header)
			if row.want == 0 {
				if len(told) > 0 || len(p.Waiting()) > 0 {
					t.Errorf("told %v, waiting %v", told, p.Waiting())
				}
				return
			}
			want := pace.Wait{Host: "pds.example", Until: epoch.Add(row.want), Status: row.status}
			if len(told) != 1 || told[0] != want || len(p.Waiting()) != 1 || p.Waiting()[0] != want {
				t.Fatalf("told %v, waiting %v; want %v", told, p.Waiting(), want)
			}
			clock.Advance(time.Second)
			(<-begin(t.Context(), p, "other.example")).End(200, nil)
			ctx, waits := pace.Watch(t.Context())
			_, others := pace.Watch(t.Context())
			got := begin(ctx, p, "pds.example")
			block(t, clock, 1)
			if w, ok := waits.Longest(); !ok || w.Host != "pds.example" || !w.Until.Equal(want.Until) {
				t.Errorf("the task waits for %+v", w)
			}
			if w, ok := others.Longest(); ok {
				t.Errorf("another task waits for %+v", w)
			}
			clock.Advance(row.want - time.Second - time.Nanosecond)
			select {
			case <-got:
				t.Fatal("it did not wait")
			case <-time.After(2 * time.Millisecond):
			}
			clock.Advance(time.Nanosecond)
			(<-got).End(200, nil)
			if _, ok := waits.Longest(); ok || len(p.Waiting()) > 0 {
				t.Errorf("waiting %v", p.Waiting())
			}
		})
	}
}

func TestTwoAtATime(t *testing.T) {
	p := pace.New(pace.Options{Clock: clockwork.NewRealClock(), Start: 1e6})
	var mu sync.Mutex
	now, most := 0, 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			turn, err := p.Begin(t.Context(), "pds.example")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			mu.Lock()
			now--
			mu.Unlock()
			turn.End(200, nil)
		})
	}
	wg.Wait()
	if most > 2 {
		t.Errorf("%d at a time", most)
	}
	a, b := <-begin(t.Context(), p, "pds.example"), <-begin(t.Context(), p, "pds.example")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Begin(ctx, "pds.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("a third one: %v", err)
	}
	a.End(200, nil)
	b.End(200, nil)
}

// However many hosts strangers name, few are remembered.
func TestI5_HostsAreBounded(t *testing.T) {
	clock := clockwork.NewFakeClockAt(epoch)
	p := pace.New(pace.Options{Clock: clock})
	for i := range 25_000 {
		turn, err := p.Begin(t.Context(), fmt.Sprintf("%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		turn.End(429, http.Header{"Retry-After": {"3600"}})
	}
	if n := len(p.Waiting()); n > 10_000 {
		t.Errorf("%d hosts are remembered", n)
	}
}

// Of two requests at a time each may be told to wait. The longer wait counts.
func TestAShorterWaitShortensNone(t *testing.T) {
	p := pace.New(pace.Options{Clock: clockwork.NewFakeClockAt(epoch), Start: math.MaxFloat64})
	long, err := p.Begin(t.Context(), "pds.example")
	if err != nil {
		t.Fatal(err)
	}
	short, err := p.Begin(t.Context(), "pds.example")
	if err != nil {
		t.Fatal(err)
	}
	long.End(429, http.Header{"Retry-After": {"300"}})
	short.End(503, http.Header{"Retry-After": {"10"}})
	if all := p.Waiting(); len(all) != 1 || !all[0].Until.Equal(epoch.Add(300*time.Second)) || all[0].Status != 429 {
		t.Errorf("%+v", all)
	}
}
