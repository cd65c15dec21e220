package backfill_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/atsim"
	"tempestd/internal/backfill"
	"tempestd/internal/backfill/held"
	"tempestd/internal/beside"
	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	seed  = 11
	posts = "app.bsky.feed.post"
)

// rig is a stream with the network around it, and what its writer does with what a source gives.
type rig struct {
	t       *testing.T
	sim     *atsim.Sim
	network *accounts.Network
	crew    *beside.Crew
	stream  persistence.Stream
	bare    *dedupe.Bare
	row     messages.GapRow
	filter  jetstream.Filter
	relay   string

	stored int
	told   []backfill.Progress
	stop   func(stored int) error // an error for a batch
}

func newRig(t *testing.T, hosts int) *rig {
	t.Helper()
	clock := clockwork.NewRealClock()
	sim, err := atsim.New(atsim.Options{Hosts: hosts, Seed: seed, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{SyncInterval: time.Hour, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sim: sim, row: messages.GapRow{ID: "0011223344556677", Feed: "sky"}}
	if r.stream, err = store.OpenStream(t.Context(), "sky", persistence.StreamOptions{}); err != nil {
		t.Fatal(err)
	}
	r.bare = dedupe.NewBare(r.stream, persistence.Horizon{})
	r.network = accounts.NewNetwork(accounts.NetworkOptions{Clock: clock, Dir: t.TempDir(), Policy: sim.Policy(), PLC: sim.PLC(), TXT: sim.TXT, Origin: sim.Origin,
		Start: math.MaxFloat64})
	r.crew = &beside.Crew{Clock: clock, Tell: func(task string, p *beside.Panic) { t.Errorf("%s: %v\n%s", task, p, p.Stack) }}
	t.Cleanup(func() {
		r.crew.Wait()
		r.network.Close()
		for _, err := range []error{sim.Close(), store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// rewritten is a network in which the answers to one method are changed.
type rewritten struct {
	http.RoundTripper
	method string
	change func([]byte) []byte
}

func (n rewritten) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "."+n.method) {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(n.change(body))), -1
	return resp, err
}

// rewrite has the answers to a method changed.
func (r *rig) rewrite(method string, change func([]byte) []byte) {
	client := guard.New(r.sim.Policy())
	r.t.Cleanup(client.CloseIdleConnections)
	calls := xrpc.New(xrpc.Options{HTTP: &http.Client{Transport: rewritten{client.Transport, method, change}}, Clock: clockwork.NewRealClock(), Pace: r.network.Pace})
	r.network.Calls, r.network.Client = calls, accounts.New(accounts.Options{Calls: calls, Directory: r.network.Directory, Dir: r.t.TempDir()})
}

// line is the event as a Jetstream server sends it.
func line(t testing.TB, e atsim.Event) string {
	t.Helper()
	record := ""
	if e.Operation != "delete" {
		v, err := dagcbor.FromJSON(e.Record)
		if err != nil {
			t.Fatal(err)
		}
		block, err := dagcbor.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		record = fmt.Sprintf(`,"record":%s,"cid":"%v"`, e.Record, dagcbor.Sum(dagcbor.CodecDAGCBOR, block))
	}
	return fmt.Sprintf(`{"did":"%s","time_us":%d,"kind":"commit","commit":{"rev":"%s","operation":"%s","collection":"%s","rkey":"%s"%s}}`,
		e.DID, e.Time.UnixMicro(), e.Rev, e.Operation, e.Collection, e.RKey, record)
}

// happens applies events to the accounts. Those that are stored also come live.
func (r *rig) happens(stored bool, events ...atsim.Event) {
	r.t.Helper()
	b := &messages.Batch{}
	for _, e := range events {
		if err := r.sim.Apply(e); err != nil {
			r.t.Fatal(err)
		}
		if stored {
			put(r.t, b, line(r.t, e))
		}
	}
	if len(b.Events) > 0 {
		r.append(b, false)
	}
}

func put(t testing.TB, b *messages.Batch, text string) {
	t.Helper()
	e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(text))}
	if err := jetstream.Scan([]byte(text), &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	b.Buf = append(b.Buf, text...)
	b.Events = append(b.Events, e)
}

func (r *rig) append(b *messages.Batch, fetched bool) {
	r.t.Helper()
	mark := r.bare.Mark
	if fetched {
		mark = r.bare.MarkFetched
	}
	if _, err := mark(context.Background(), b); err != nil {
		r.t.Fatal(err)
	}
	a, err := r.stream.Append(context.Background(), b, messages.Checkpoint{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.bare.Appended(b, a, fetched)
	r.stored += a.Entries
}

// deliver does what the writer does with a batch: the mark of the repair, and the append.
func (r *rig) deliver(source messages.GapSource) backfill.Deliver {
	return func(ctx context.Context, b *messages.Batch, at json.RawMessage) (*messages.Batch, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(b.Events) > 1024 {
			r.t.Errorf("a batch of %d events", len(b.Events))
		}
		marked := &messages.Batch{Compared: b.Compared}
		for i := range b.Events {
			c, _ := jetstream.ReadContent(b.Bytes(i))
			mark := messages.Repair{Gap: r.row.ID, Source: source}
			if c.TimeUnknown() {
				mark.Time = messages.RepairTimeUnknown
			}
			text, err := json.Marshal(mark)
			if err != nil {
				return nil, err
			}
			put(r.t, marked, strings.TrimSuffix(string(b.Bytes(i)), "}")+`,"repair":`+string(text)+"}")
		}
		if len(marked.Events) > 0 {
			r.append(marked, true)
		}
		r.row.Progress = slices.Clone(at)
		if r.stop != nil {
			if err := r.stop(r.stored); err != nil {
				return nil, err
			}
		}
		b.Reset()
		return b, nil
	}
}

func (r *rig) order() backfill.Order {
	return backfill.Order{Row: r.row, Filter: r.filter, Held: held.New(r.stream, r.row, r.filter), Tell: func(p backfill.Progress) { r.told = append(r.told, p) }}
}

func (r *rig) accounts() *backfill.Accounts {
	return backfill.NewAccounts(backfill.AccountsOptions{Network: r.network, Relay: r.relay, Clock: clockwork.NewRealClock(), Crew: r.crew})
}

func (r *rig) fetch(s backfill.Source) (backfill.Result, error) {
	return s.Fetch(r.t.Context(), r.order(), r.deliver(s.Name()))
}

// fold is what a reader of the stream believes that there is: CIDs by path.
func (r *rig) fold() map[string]string {
	r.t.Helper()
	state := map[string]string{}
	err := persistence.Walk(context.Background(), r.stream, messages.EntryID{}, func(e persistence.Entry) {
		c, ok := jetstream.ReadContent(e.Event)
		if !ok {
			r.t.Errorf("%s", e.Event)
		}
		path := fmt.Sprintf("%s/%s/%s", c.DID, c.Collection, c.RKey)
		if state[path] = string(c.CID); c.Delete {
			delete(state, path)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return state
}

// there is what the accounts have.
func (r *rig) there(dids ...string) map[string]string {
	state := map[string]string{}
	for _, did := range dids {
		for _, record := range r.sim.Records(did) {
			state[did+"/"+record.Collection+"/"+record.RKey] = record.CID.String()
		}
	}
	return state
}

func (r *rig) same(dids ...string) {
	r.t.Helper()
	got, want := r.fold(), r.there(dids...)
	if maps.Equal(got, want) {
		return
	}
	for path, cid := range want {
		if got[path] != cid {
			r.t.Errorf("%s is %q, want %q", path, got[path], cid)
		}
	}
	for path := range got {
		if want[path] == "" {
			r.t.Errorf("%s is still there", path)
		}
	}
}

// gap is a feed that was away: of the events of each account a third comes before, a third is lost,
// and a third comes after.
func (r *rig) gap(accounts, n int) (dids []string) {
	r.t.Helper()
	began := time.Now().Add(-10 * time.Minute)
	events := atsim.Generate(seed, accounts, n, began)
	a, b := len(events)/3, 2*len(events)/3
	r.happens(true, events[:a]...)
	r.happens(false, events[a:b]...)
	r.happens(true, events[b:]...)
	r.row.FromUS, r.row.ToUS = events[a-1].Time.UnixMicro(), events[b].Time.UnixMicro()
	for i := range accounts {
		dids = append(dids, atsim.DID(seed, i))
	}
	r.filter.DIDs = dids
	return dids
}
