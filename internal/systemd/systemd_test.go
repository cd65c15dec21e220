package systemd_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"tempestd/internal/observe"
	"tempestd/internal/systemd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager is the service manager's end of the notification socket.
type manager struct{ conn *net.UnixConn }

// listen makes the socket and sets its name in the environment.
func listen(t *testing.T) manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // the path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addr := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return manager{conn}
}

// received returns the messages so far. It sends a last message itself, so that it does not have to
// wait for a time to pass.
func (m manager) received(t *testing.T) []string {
	t.Helper()
	systemd.New(observe.Discard()).Status("end")
	var all []string
	buf := make([]byte, 4096)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:n]) == "STATUS=end" {
			return all
		}
		all = append(all, string(buf[:n]))
	}
}

func count(o *observe.Observer, e observe.Event) int {
	return int(testutil.ToFloat64(o.Metrics().Events.WithLabelValues(string(e), "")))
}

func TestNotifications(t *testing.T) {
	m := listen(t)
	o := observe.Discard()
	n := systemd.New(o)
	n.Ready()
	n.Reloading()
	n.Ready()
	n.Status("2 feeds live\nWATCHDOG=1")
	n.Stopping(30 * time.Second)

	want := []string{"READY=1", "RELOADING=1", "READY=1", "STATUS=2 feeds live WATCHDOG=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000"}
	if got := m.received(t); !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	if c := count(o, observe.SystemdFailed); c != 0 {
		t.Errorf("%d failures", c)
	}
}

func TestWithoutASocketNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	o := observe.Discard()
	n := systemd.New(o)
	n.Ready()
	n.Status("live")
	n.Stopping(time.Second)
	n.RunWatchdog(t.Context(), clockwork.NewRealClock(), func(context.Context) error {
		t.Error("checked, though no watchdog is set")
		return nil
	})
	if c := count(o, observe.SystemdFailed); c != 0 {
		t.Errorf("%d failures", c)
	}
}

func TestI9_ALostSocketIsSaidOnce(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	o := observe.Discard()
	n := systemd.New(o)
	n.Ready()
	n.Status("live")
	if c := count(o, observe.SystemdFailed); c != 1 {
		t.Errorf("said %d times, want once", c)
	}
}

func TestABadWatchdogPeriodIsSaid(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	t.Setenv("WATCHDOG_PID", "")
	o := observe.Discard()
	systemd.New(o).RunWatchdog(t.Context(), clockwork.NewRealClock(), nil)
	if c := count(o, observe.SystemdFailed); c != 1 {
		t.Errorf("said %d times, want once", c)
	}
}

// A socket that nobody reads is full after some messages. Nothing waits for it, and the changes of
// state come when it is read again.
func TestASocketThatNobodyReadsHoldsNothingUp(t *testing.T) {
	m := listen(t)
	o := observe.Discard()
	n := systemd.New(o)
	for range 4096 { // more than any system's queue of datagrams
		n.Status("full")
	}
	n.Ready()
	n.Stopping(time.Second)
	if c := count(o, observe.SystemdFailed); c != 1 {
		t.Errorf("said %d times, want once", c)
	}
	var states []string
	buf := make([]byte, 4096)
	for range 4096 {
		n.Status("read") // sends the states first, as soon as there is room
		size, err := m.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		switch text := string(buf[:size]); text {
		case "STATUS=full":
		case "STATUS=read":
			if want := []string{"READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=1000000"}; !slices.Equal(states, want) {
				t.Errorf("received %q, want %q", states, want)
			}
			return
		default:
			states = append(states, text)
		}
	}
	t.Error("the states do not come")
}

func TestALongStartAsksForTimeUntilItIsOver(t *testing.T) {
	m := listen(t)
	asked := func(work, most time.Duration) (n int) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), work)
			defer cancel()
			systemd.New(observe.Discard()).Extend(ctx, clockwork.NewRealClock(), most)
		})
		for _, text := range m.received(t) {
			if text == "EXTEND_TIMEOUT_USEC=60000000" {
				n++
			}
		}
		return n
	}
	if n := asked(time.Second, time.Hour); n != 1 {
		t.Errorf("a start of a second asked %d times, want once", n)
	}
	if n := asked(50*time.Second, time.Hour); n != 4 {
		t.Errorf("a start of 50 s asked %d times, want 4", n)
	}
	if n := asked(time.Hour, 3*time.Minute); n != 8 {
		t.Errorf("a start that hangs asked %d times, want 8: three minutes in all", n)
	}
}

// watch runs the watchdog with a period of 20 s of virtual time until it has asked for every answer
// of the script. It returns the times of the questions.
func watch(t *testing.T, o *observe.Observer, script ...func(ctx context.Context) error) (asked []time.Duration) {
	t.Helper()
	t.Setenv("WATCHDOG_USEC", "20000000")
	t.Setenv("WATCHDOG_PID", "")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		systemd.New(o).RunWatchdog(ctx, clockwork.NewRealClock(), func(ctx context.Context) error {
			if len(asked) == len(script) {
				cancel()
				return ctx.Err()
			}
			asked = append(asked, time.Since(began))
			return script[len(asked)-1](ctx)
		})
	})
	return asked
}

func answers(context.Context) error { return nil }
func refuses(context.Context) error { return errors.New("feed bluesky does not answer") }
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return nil // it is late, whatever it returns
}

func TestWatchdogAsksAtHalfThePeriodAndPings(t *testing.T) {
	m := listen(t)
	o := observe.Discard()
	asked := watch(t, o, answers, answers, answers)
	if want := []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
	if got := m.received(t); !slices.Equal(got, []string{"WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"}) {
		t.Errorf("received %q, want three pings", got)
	}
	if c := count(o, observe.HealthUnanswered); c != 0 {
		t.Errorf("%d unanswered checks", c)
	}
}

func TestI9_AFailedOrLateCheckIsAnEventAndNoPing(t *testing.T) {
	m := listen(t)
	var out bytes.Buffer
	o := observe.New(slog.New(slog.NewTextHandler(&out, nil)), observe.NewMetrics(), observe.Strict())
	watch(t, o, refuses, hangs, answers)
	if got := m.received(t); !slices.Equal(got, []string{"WATCHDOG=1"}) {
		t.Errorf("received %q, want one ping, for the one good answer", got)
	}
	if c := count(o, observe.HealthUnanswered); c != 2 {
		t.Errorf("%d events, want one for each bad check", c)
	}
	for _, want := range []string{"feed bluesky does not answer", "no answer in time", "timeout=5s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, out.String())
		}
	}
}
