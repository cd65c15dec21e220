package supervisor_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/supervisor"
)

// choice drives Endpoints through the ends of connections.
type choice struct {
	t *testing.T
	*supervisor.Endpoints
	now time.Time
}

func newChoice(t *testing.T, hosts ...string) *choice {
	var list []jetstream.Endpoint
	for _, h := range hosts {
		ep, err := jetstream.ParseEndpoint(h)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ep)
	}
	return &choice{t, supervisor.NewEndpoints(list, schedule, rand.New(rand.NewPCG(1, 2))), time.Unix(1_800_000_000, 0)}
}

// ended ends a connection as e says, and lets the following wait pass. It fails unless the wait is
// between least and most and the next host is next.
func (c *choice) ended(e actors.Ended, next string, least, most time.Duration) {
	c.t.Helper()
	c.now = c.now.Add(e.Lived)
	wait := c.Ended(c.now, &e, e.Lived > 0, false)
	if got := c.Current().Host(); got != next+":443" || wait < least || wait > most {
		c.t.Fatalf("after %+v: %s in %v; want %s in %v to %v", e, got, wait, next, least, most)
	}
	c.now = c.now.Add(wait)
}

func TestEndpointIsTriedAgainAfterAHealthyLife(t *testing.T) {
	c := newChoice(t, "a", "b", "c")
	c.ended(actors.Ended{Lived: time.Hour}, "a", 500*time.Millisecond, time.Second)
	c.ended(actors.Ended{Lived: time.Hour}, "a", 500*time.Millisecond, time.Second)
}

func TestUnhealthyEndpointsAreLeftForTheOneThatIsReadyFirst(t *testing.T) {
	c := newChoice(t, "a", "b", "c")
	c.ended(actors.Ended{}, "b", 0, time.Second)
	c.ended(actors.Ended{}, "c", 0, time.Second)
	c.ended(actors.Ended{}, "a", 0, time.Second)
}

func TestRefusalCostsOnlyTheEndpointThatRefuses(t *testing.T) {
	c := newChoice(t, "a", "b")
	c.ended(actors.Ended{Permanent: true}, "b", 0, time.Second)
	if c.Refused() {
		t.Fatal("b did not refuse")
	}
	c.Live(c.now)
	c.ended(actors.Ended{Lived: time.Minute}, "b", 0, time.Second) // a is left alone for minutes
	c.ended(actors.Ended{Permanent: true}, "a", time.Minute, 5*time.Minute)
	if !c.Refused() {
		t.Fatal("both refuse")
	}
	c.Live(c.now)
	if c.Refused() {
		t.Fatal("one is live")
	}
}

func TestRetryAfterIsHonouredPerEndpoint(t *testing.T) {
	c := newChoice(t, "a", "b")
	c.ended(actors.Ended{RetryAfter: 10 * time.Minute}, "b", 0, time.Second)
	// An hour later a may be asked again, and it is preferred.
	c.ended(actors.Ended{Lived: time.Hour}, "a", 0, time.Second)
	one := newChoice(t, "a")
	one.ended(actors.Ended{RetryAfter: time.Minute}, "a", time.Minute, 66*time.Second)
}

func TestWhatWeEndOurselvesSaysNothingAboutTheEndpoint(t *testing.T) {
	c := newChoice(t, "a", "b")
	for _, cause := range []messages.ReconnectCause{messages.CauseOperator, messages.CauseSleep, messages.CauseFilter} {
		c.ended(actors.Ended{Lived: time.Second, Forced: cause}, "a", 0, 0)
	}
	c.ended(actors.Ended{SeqReset: true}, "a", 0, time.Second)
}

func TestBlindEndpointIsLeftAlone(t *testing.T) {
	c := newChoice(t, "a", "b")
	c.ended(actors.Ended{Lived: time.Hour, Forced: messages.CauseBlind}, "b", 0, time.Second)
	c.ended(actors.Ended{Lived: time.Minute}, "b", 0, time.Second)
	c.ended(actors.Ended{Lived: time.Hour}, "a", 0, time.Second)
	one := newChoice(t, "a")
	one.ended(actors.Ended{Lived: time.Hour, Forced: messages.CauseBlind}, "a", 0, time.Second)
}

func TestPreferredEndpointIsTriedAgainAfterAHealthyWhile(t *testing.T) {
	c := newChoice(t, "a", "b")
	if c.WantsBack(c.now, time.Hour) {
		t.Fatal("it is connected to the preferred one")
	}
	for comeback := 30 * time.Minute; comeback <= 6*time.Hour; comeback *= 2 {
		c.ended(actors.Ended{}, "b", 0, 30*time.Second)
		if early := comeback - time.Minute; c.WantsBack(c.now.Add(early), early) {
			t.Fatalf("it wants back within %v", comeback)
		}
		if !c.WantsBack(c.now.Add(comeback), comeback) {
			t.Fatalf("it does not want back after %v", comeback)
		}
		c.ended(actors.Ended{Lived: comeback, Forced: messages.CausePreferred}, "a", 0, 0)
	}
}

// A server that announces its end is believed a few times in a row. Then it is left like one that
// does not.
func TestAServerThatIsAlwaysAboutToReturnIsLeft(t *testing.T) {
	c := newChoice(t, "a", "b")
	for n := 1; ; n++ {
		c.Ended(c.now, &actors.Ended{Clean: true}, false, false)
		if c.Current().Host() == "b:443" {
			if n < 3 {
				t.Errorf("it was left after %d ends", n)
			}
			return
		}
		if n == 10 {
			t.Fatal("it was believed ten times in a row")
		}
	}
}

// The failures of an endpoint count until a connection is healthy, and not until that ends: an alert
// would call for a feed that has long been well.
func TestFailuresEndWithAHealthyConnection(t *testing.T) {
	c := newChoice(t, "a")
	failures := func(want int) {
		t.Helper()
		if got := c.Status(c.now)[0].Failures; got != want {
			t.Errorf("%d failures, want %d", got, want)
		}
	}
	for range 7 {
		c.ended(actors.Ended{}, "a", 0, time.Minute)
	}
	c.Live(c.now)
	failures(7)
	c.now = c.now.Add(schedule[len(schedule)-1])
	c.Live(c.now) // again, after a pause of the writer
	failures(0)
	c.ended(actors.Ended{Lived: time.Second}, "a", 0, time.Minute)
	failures(8)
	c.now = c.now.Add(time.Hour)
	failures(8)
}
