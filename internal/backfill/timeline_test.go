package backfill_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atsim"
	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/timeline"
)

const reposts = "app.bsky.feed.repost"

// timelineRig is a feed that follows one account.
type timelineRig struct {
	*rig
	me    string
	store timeline.FileStore
}

// newTimelineRig makes an account that follows the others, of which a third of the events is lost.
func newTimelineRig(t *testing.T, n, events int) *timelineRig {
	r := &timelineRig{rig: newRig(t, 2), me: atsim.DID(seed, 999), store: timeline.FileStore(filepath.Join(t.TempDir(), "session"))}
	for i := range n {
		at := time.Now().Add(-20 * 24 * time.Hour).Add(time.Duration(i) * time.Second)
		r.happens(false, atsim.Event{DID: r.me, Time: at, Rev: atsim.TID(at, 0), Operation: "create", Collection: "app.bsky.graph.follow", RKey: atsim.TID(at, 0),
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","subject":%q}`, atsim.DID(seed, i))})
	}
	r.sim.Password(r.me, "app-pass")
	r.gap(n, events)
	r.filter.Collections = []string{posts, reposts}
	return r
}

func (r *timelineRig) source() *backfill.Timeline {
	account := timeline.New(timeline.Options{Identifier: r.me, Password: config.NewSecret("app-pass"), Store: r.store, Calls: r.network.Calls,
		Directory: r.network.Directory, Accounts: r.network.Client, Clock: clockwork.NewRealClock()})
	return backfill.NewTimeline(backfill.TimelineOptions{Account: account, Received: r.network.Calls.Received, Clock: clockwork.NewRealClock()})
}

// lost counts the posts, and the reposts of what is shown, that the stream lacks.
func (r *timelineRig) lost() (n int) {
	got := r.fold()
	for path, cid := range r.there(r.filter.DIDs...) {
		if strings.Contains(path, "/"+posts+"/") && got[path] != cid {
			n++
		}
	}
	return n
}

func TestTimelineGivesBackPosts(t *testing.T) {
	r := newTimelineRig(t, 10, 60)
	if r.lost() == 0 {
		t.Fatal("nothing is lost")
	}
	before := r.stored
	result, err := r.fetch(r.source())
	if err != nil || r.lost() != 0 || !strings.Contains(result.Missing, "as far as the app view shows") {
		t.Errorf("%d are lost still, %v; %s", r.lost(), err, result.Missing)
	}
	once := r.stored
	if _, err := r.fetch(r.source()); err != nil || r.stored != once {
		t.Errorf("the second fetch stored %d more, %v", r.stored-once, err)
	}
	if n := r.sim.Requests()["createSession"]; n != 1 {
		t.Errorf("%d logins", n)
	}
	t.Logf("%d stored; %s", once-before, result.Missing)
}

func TestEveryFaultOfATimelineAsASource(t *testing.T) {
	for fault, want := range map[string]string{
		atsim.FaultExpiredToken: "", atsim.FaultOldTimeline: "", atsim.FaultEmptyPage: "",
		atsim.FaultEarlyEnd: "the timeline ended",
	} {
		t.Run(fault, func(t *testing.T) {
			r := newTimelineRig(t, 5, 150)
			r.sim.Inject(atsim.Fault{Name: fault, Method: "getTimeline"})
			result, err := r.fetch(r.source())
			if err != nil || want == "" && r.lost() != 0 || !strings.Contains(result.Missing, want) {
				t.Errorf("%d are lost, %v; %s", r.lost(), err, result.Missing)
			}
			if want != "" && (result.LackFromUS != r.row.FromUS || result.LackToUS <= result.LackFromUS || result.LackToUS > r.row.ToUS) {
				t.Errorf("lacks %d to %d of %d to %d", result.LackFromUS, result.LackToUS, r.row.FromUS, r.row.ToUS)
			}
		})
	}
}

// A login that is refused is not tried again at once.
func TestTimelineWaitsForTheNextLogin(t *testing.T) {
	r := newTimelineRig(t, 2, 30)
	r.sim.Inject(atsim.Fault{Name: atsim.FaultSecondFactor, Always: true})
	source := r.source()
	if _, err := r.fetch(source); err == nil || strings.Contains(err.Error(), "app-pass") {
		t.Error(err)
	}
	_, err := r.fetch(source)
	var wait *backfill.WaitError
	if !errors.As(err, &wait) || time.Until(wait.Until) < time.Hour {
		t.Error(err)
	}
	r.filter.Collections = []string{"app.bsky.feed.like"}
	if _, err := r.fetch(source); !errors.Is(err, backfill.ErrNothing) {
		t.Error(err)
	}
}

// The budget of a repair holds for a timeline too.
func TestTimelineKeepsToItsBudget(t *testing.T) {
	r := newTimelineRig(t, 5, 150)
	before, o := r.stored, r.order()
	o.Budget = 10
	if _, err := r.source().Fetch(t.Context(), o, r.deliver("timeline")); !errors.Is(err, backfill.ErrPermanent) || !strings.Contains(err.Error(), "budget") {
		t.Error(err)
	}
	if r.stored != before {
		t.Errorf("%d stored", r.stored-before)
	}
}
