package timeline_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/atsim"
	"tempestd/internal/timeline"
)

// ask reads the newest page.
func ask(t *testing.T, a *timeline.Account) error {
	t.Helper()
	_, _, err := read(t, a, timeline.ReadOptions{Since: epoch.Add(time.Hour)})
	return err
}

// However often a daemon starts, it logs in once.
func TestNoLoginWhenASessionIsThere(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	for range 5 {
		if err := ask(t, r.account()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.sim.Requests()["createSession"]; n != 1 {
		t.Errorf("%d logins", n)
	}
}

// Many callers that find the token expired refresh it once, and the pair is stored before it is
// used.
func TestOneRefreshForAllCallers(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	a := r.account()
	if err := ask(t, a); err != nil {
		t.Fatal(err)
	}
	r.sim.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, Method: "getTimeline"})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := ask(t, a); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.sim.Requests(); n["refreshSession"] != 1 || n["createSession"] != 1 {
		t.Errorf("requests %v", n)
	}
	if r.store.kept.Logins != 0 || r.store.kept.Access == r.store.saves[0].Access {
		t.Errorf("kept is %+v", r.store.kept)
	}
}

// A pair that cannot be stored is not used, and not lost: the old refresh token is used up.
func TestTokensAreStoredBeforeUse(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	a := r.account()
	if err := ask(t, a); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	r.store.err = full
	r.sim.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, Method: "getTimeline"})
	before := r.sim.Requests()["getTimeline"]
	for range 3 {
		if err := ask(t, a); !errors.Is(err, full) {
			t.Errorf("%v", err)
		}
	}
	if n := r.sim.Requests(); n["getTimeline"] != before+1 || n["refreshSession"] != 1 {
		t.Errorf("requests %v", n)
	}
	r.store.err = nil
	if err := ask(t, a); err != nil {
		t.Error(err)
	}
	if n := r.sim.Requests(); n["refreshSession"] != 1 || n["createSession"] != 1 {
		t.Errorf("requests %v", n)
	}
}

// A refresh token that was used by somebody else leads to a login, and each further one waits
// longer.
func TestLoginsWaitLongerEachTime(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	r.sim.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, Always: true, Method: "getTimeline"})
	r.sim.Inject(atsim.Fault{Name: atsim.FaultRefreshRefused, Always: true})
	a := r.account()
	logins := 0
	for range 14 * 24 * 60 { // two weeks, once a minute
		err := ask(t, a)
		var wait *timeline.LoginWait
		if err == nil {
			t.Fatal("a token was taken")
		}
		if errors.As(err, &wait) && !wait.Until.After(r.clock.Now()) {
			t.Fatalf("%v at %v", wait, r.clock.Now())
		}
		now := r.sim.Requests()["createSession"]
		if now > logins+1 {
			t.Fatalf("%d logins at once", now-logins)
		}
		if logins = now; logins%5 == 0 {
			a = r.account() // a daemon that starts again waits all the same
		}
		r.clock.Advance(time.Minute)
		if errors.As(err, &wait) {
			r.clock.Advance(max(0, wait.Until.Sub(r.clock.Now())-time.Minute))
		}
		if r.clock.Since(epoch) > 14*24*time.Hour {
			break
		}
	}
	if logins < 20 || logins > 14*14 {
		t.Errorf("%d logins in two weeks", logins)
	}
	r.sim.Mend()
	r.clock.Advance(7 * time.Hour)
	if err := ask(t, a); err != nil {
		t.Error(err)
	}
	// A refresh that works begins anew.
	r.sim.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, Method: "getTimeline"})
	if err := ask(t, a); err != nil || r.store.kept.Logins != 0 || !r.store.kept.NotBefore.IsZero() {
		t.Errorf("%v, %+v", err, r.store.kept)
	}
}

// A server that refuses the password is not asked again and again, and neither is one that is down.
func TestRefusedLoginsWait(t *testing.T) {
	for name, row := range map[string]struct {
		fault atsim.Fault
		wait  time.Duration
	}{
		"the password":    {atsim.Fault{Name: atsim.FaultLoginRefused, Always: true}, time.Minute},
		"a second factor": {atsim.Fault{Name: atsim.FaultSecondFactor, Always: true}, 6 * time.Hour},
		"no answer":       {atsim.Fault{Name: atsim.FaultCutBody, Always: true, Method: "createSession"}, time.Minute},
		"too many":        {atsim.Fault{Name: atsim.FaultRetryAfter, Method: "createSession", For: time.Second}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sim.Inject(row.fault)
			a := r.account()
			first := ask(t, a)
			for range 5 {
				var wait *timeline.LoginWait
				if err := ask(t, a); !errors.As(err, &wait) || wait.Err == nil || !wait.Until.Equal(epoch.Add(row.wait)) {
					t.Errorf("%v after %v", err, first)
				}
			}
			if n := r.sim.Requests()["createSession"]; n != 1 {
				t.Errorf("%d logins", n)
			}
			r.sim.Mend()
			r.clock.Advance(row.wait)
			if err := ask(t, a); err != nil {
				t.Error(err)
			}
			unseen(t, r, first.Error())
		})
	}
}

// An account that moves is followed, and its old tokens go nowhere else.
func TestAccountThatMovesLogsInThere(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	a := r.account()
	for host := range 4 {
		r.sim.Move(me, host%2)
		r.clock.Advance(time.Hour)
		if err := ask(t, a); err != nil {
			t.Fatal(err)
		}
		if r.store.kept.Server != r.sim.Host(host%2) {
			t.Errorf("the session is at %s", r.store.kept.Server)
		}
	}
	r.sim.Stand(me, "")
	if err := ask(t, r.account()); err != nil { // a stored session of the right server
		t.Error(err)
	}
	if n := r.sim.Requests()["refreshSession"]; n != 0 {
		t.Errorf("%d refreshes", n)
	}
	r.opt.Identifier = atsim.DID(seed, 2)
	if err := ask(t, r.account()); !xrpc.Is(err, "AuthenticationRequired") { // the session of another account is not used
		t.Error(err)
	}
}

// An account that moves while no daemon runs logs in at its new server, which sees no token of the
// former one.
func TestTokensOfAFormerServerGoNowhere(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	if err := ask(t, r.account()); err != nil {
		t.Fatal(err)
	}
	r.sim.Move(me, 1)
	r.clock.Advance(25 * time.Hour) // the document is looked up again
	before := r.sim.Requests()
	if err := ask(t, r.account()); err != nil || r.store.kept.Server != r.sim.Host(1) {
		t.Errorf("%v, the session is at %s", err, r.store.kept.Server)
	}
	after := r.sim.Requests()
	if after["refreshSession"] != before["refreshSession"] || after["createSession"] != before["createSession"]+1 || after["getTimeline"] != before["getTimeline"]+1 {
		t.Errorf("requests were %v, are %v", before, after)
	}
}

// renamed is a network in which a login gives the session of another account.
type renamed struct{ http.RoundTripper }

func (n renamed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, ".createSession") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte(me), []byte(atsim.DID(seed, 2))))), -1
	return resp, err
}

// A server that gives the session of another account shows somebody else's timeline.
func TestASessionOfAnotherAccountIsRefused(t *testing.T) {
	r := newRig(t)
	r.write(t, 10, epoch)
	client := guard.New(r.sim.Policy())
	t.Cleanup(client.CloseIdleConnections)
	r.opt.Calls = xrpc.New(xrpc.Options{HTTP: &http.Client{Transport: renamed{client.Transport}}, Clock: r.clock, Pace: pace.New(pace.Options{Clock: r.clock, Start: math.MaxFloat64})})
	if err := ask(t, r.account()); !errors.Is(err, timeline.ErrAnswer) || !r.store.kept.Access.IsEmpty() {
		t.Errorf("%v, kept is %+v", err, r.store.kept)
	}
	if n := r.sim.Requests()["getTimeline"]; n != 0 {
		t.Errorf("the timeline was asked for %d times", n)
	}
}
