package backfill_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tempestd/internal/atsim"
	"tempestd/internal/backfill"
	"tempestd/internal/beside"
)

// Every way in which an account ends, and every fault of its server: the others are repaired, and
// the row says what is missing.
func TestEveryEndOfAnAccount(t *testing.T) {
	always := func(fault, method string) func(*rig, string) {
		return func(r *rig, did string) {
			r.sim.Inject(atsim.Fault{Name: fault, Always: true, DID: did, Method: method})
		}
	}
	once := func(fault, method string) func(*rig, string) {
		return func(r *rig, did string) { r.sim.Inject(atsim.Fault{Name: fault, DID: did, Method: method}) }
	}
	for name, row := range map[string]struct {
		change func(*rig, string)
		want   string // of what is missing; "" where the account is repaired too
	}{
		"moved":               {once(atsim.FaultMoved, "getLatestCommit"), ""},
		"moved meanwhile":     {once(atsim.FaultMoved, "listRecords"), ""},
		"429":                 {once(atsim.FaultRateLimit, "listRecords"), ""},
		"Retry-After":         {once(atsim.FaultRetryAfter, "getLatestCommit"), ""},
		"503 once":            {once(atsim.FaultServerError, "listRecords"), ""},
		"an empty page":       {once(atsim.FaultEmptyPage, "listRecords"), ""},
		"deactivated":         {always(atsim.FaultDeactivated, ""), "1 accounts that are deactivated"},
		"taken down":          {always(atsim.FaultTakenDown, ""), "1 accounts that are taken down"},
		"suspended":           {always(atsim.FaultSuspended, ""), "1 accounts that are suspended"},
		"tombstoned":          {func(r *rig, did string) { r.sim.Tombstone(did) }, "1 accounts that are tombstoned"},
		"not there":           {always(atsim.FaultNotFound, ""), "1 accounts that are not found"},
		"without a server":    {always(atsim.FaultNoServer, ""), "1 accounts that are without a server"},
		"gone while it lists": {always(atsim.FaultDeactivated, "listRecords"), "1 accounts that are deactivated"},
		"a redirect inside":   {always(atsim.FaultRedirect, ""), "1 accounts whose server must not be called"},
		"no JSON":             {always(atsim.FaultNotJSON, "getLatestCommit"), "1 accounts whose server's answer is not sound"},
		"a wrong CID":         {once(atsim.FaultWrongCID, "listRecords"), "1 records that are not what their CID says"},
		"a foreign path":      {once(atsim.FaultForeignPath, "listRecords"), "1 records that are not what their CID says"},
		"a page again":        {always(atsim.FaultRepeatedCursor, "listRecords"), ""},
		"503 for good":        {always(atsim.FaultServerError, "getLatestCommit"), "1 accounts whose server does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2)
			dids := r.gap(6, 30)
			r.filter.Collections = []string{posts}
			row.change(r, dids[2])
			for r.row.Attempts = 1; ; r.row.Attempts++ {
				result, err := r.fetch(r.accounts())
				var wait *backfill.WaitError
				if errors.As(err, &wait) && r.row.Attempts < 10 {
					if left := time.Until(wait.Until); left < time.Minute || left > 6*time.Hour {
						t.Errorf("waits %v", left)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if row.want != "" && !strings.Contains(result.Missing, row.want) || row.want == "" && strings.Contains(result.Missing, "accounts that") {
					t.Errorf("missing: %s", result.Missing)
				}
				break
			}
			got := r.fold()
			for path, cid := range r.there(dids...) {
				if !strings.Contains(path, "/"+posts+"/") || row.want != "" && strings.HasPrefix(path, dids[2]) {
					continue
				}
				if got[path] != cid {
					t.Errorf("%s is %q, want %q", path, got[path], cid)
				}
			}
			if n := r.sim.Requests()["inside"]; n != 0 {
				t.Errorf("%d requests reached this machine", n)
			}
		})
	}
}

// A repository that is not sound gives nothing.
func TestUnsoundRepositories(t *testing.T) {
	for _, fault := range []string{atsim.FaultWrongHash, atsim.FaultTruncatedCAR, atsim.FaultCyclicTree, atsim.FaultDeepTree, atsim.FaultMissingBlock,
		atsim.FaultWrongSignature, atsim.FaultOtherAccount} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			dids := r.gap(3, 60)
			r.row.Attempts = 10
			r.sim.Inject(atsim.Fault{Name: fault, Always: true, DID: dids[1], Method: "getRepo"})
			result, err := r.fetch(r.accounts())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(result.Missing, "1 accounts whose server") {
				t.Error(result.Missing)
			}
			for _, did := range []string{dids[0], dids[2]} {
				for path, cid := range r.there(did) {
					if got := r.fold()[path]; got != cid {
						t.Fatalf("%s is %q, want %q", path, got, cid)
					}
				}
			}
		})
	}
}

// Of 80 records that the stream holds one was deleted within the gap. A list that does not come to
// its end by itself proves no delete, nor does one that hides most records.
func TestI4_NoDeleteWithoutProof(t *testing.T) {
	always := func(names ...string) (all []atsim.Fault) {
		for _, name := range names {
			method := "listRecords"
			if name == atsim.FaultWrongSignature {
				method = "getRepo"
			}
			all = append(all, atsim.Fault{Name: name, Always: true, Method: method})
		}
		return all
	}
	for name, row := range map[string]struct {
		faults            []atsim.Fault
		older             bool // the account has records from before the stream began
		few               bool // of records: eight
		stale             bool // the repository is older than the account's latest commit
		deletes           int
		records, requests int // requests of single records, and of repositories
		want              string
	}{
		"none":                              {deletes: 1},
		"left where it is too old":          {older: true, deletes: 1, records: 1},
		"endless":                           {faults: always(atsim.FaultEndlessList), deletes: 1, requests: 1},
		"endless, repository not sound":     {faults: always(atsim.FaultEndlessList, atsim.FaultWrongSignature), requests: 1, want: "80 deletes that could not be confirmed"},
		"without its end":                   {faults: always(atsim.FaultEarlyEnd), deletes: 1, requests: 1},
		"without its end, and no signature": {faults: always(atsim.FaultEarlyEnd, atsim.FaultWrongSignature), requests: 1, want: "71 deletes that could not be confirmed"},
		"without its end, an old one":       {faults: always(atsim.FaultEarlyEnd), stale: true, requests: 1, want: "71 deletes that could not be confirmed"},
		"nothing but empty pages":           {faults: always(atsim.FaultEmptyPage), want: "the rest of 1 lists that ended early"},
		"empty pages, few records":          {faults: always(atsim.FaultEmptyPage), few: true, want: "the rest of 1 lists that ended early"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			did := atsim.DID(seed, 1)
			at := time.Now().Add(-10 * time.Hour)
			post := func(n int) atsim.Event {
				when := at.Add(time.Duration(n) * time.Minute)
				return atsim.Event{DID: did, Time: when, Rev: atsim.TID(when, 0), Operation: "create", Collection: posts, RKey: atsim.TID(when, 0), Record: fmt.Appendf(nil, `{"n":%d}`, n)}
			}
			if row.older {
				for n := range 240 {
					r.happens(false, post(n-600))
				}
			}
			n := 80
			if row.few {
				n = 8
			}
			for i := range n {
				r.happens(true, post(i))
			}
			gone := post(n / 2)
			gone.Operation, gone.Record, gone.Rev = "delete", nil, atsim.TID(at.Add(5*time.Hour), 0)
			r.happens(false, gone)
			r.filter.DIDs, r.filter.Collections = []string{did}, []string{posts}
			r.row.FromUS = at.Add(4 * time.Hour).UnixMicro()
			for _, f := range row.faults {
				r.sim.Inject(f)
			}
			if row.stale {
				r.rewrite("getLatestCommit", func(answer []byte) []byte {
					return bytes.Replace(answer, []byte(r.sim.Rev(did)), []byte(atsim.TID(time.Now(), 0)), 1)
				})
			}
			before := r.fold()
			result, err := r.fetch(r.accounts())
			if err != nil {
				t.Fatal(err)
			}
			after := r.fold()
			if len(before)-len(after) != row.deletes || row.deletes == 1 && after[did+"/"+posts+"/"+gone.RKey] != "" {
				t.Errorf("of %d records there are %d", len(before), len(after))
			}
			if told := strings.Contains(result.Missing, "deletes that could not") || strings.Contains(result.Missing, "ended early"); !strings.Contains(result.Missing, row.want) || told != (row.want != "") || result.Unread != told {
				t.Errorf("%+v", result)
			}
			if got := r.sim.Requests(); got["getRecord"] != row.records || got["getRepo"] != row.requests {
				t.Errorf("requests %v", got)
			}
		})
	}
}

// A list that passed a record which is there is not believed, however few are concerned.
func TestI4_AListThatHidesARecord(t *testing.T) {
	r := newRig(t, 1)
	did := atsim.DID(seed, 1)
	at := time.Now().Add(-10 * time.Minute)
	post := func(n int) atsim.Event {
		when := at.Add(time.Duration(n) * time.Minute)
		return atsim.Event{DID: did, Time: when, Rev: atsim.TID(when, 0), Operation: "create", Collection: posts, RKey: atsim.TID(when, 0), Record: fmt.Appendf(nil, `{"n":%d}`, n)}
	}
	r.happens(true, post(0), post(1))
	r.happens(false, post(5))
	r.filter.DIDs, r.filter.Collections = []string{did}, []string{posts}
	r.row.FromUS = at.Add(2 * time.Minute).UnixMicro()
	r.sim.Inject(atsim.Fault{Name: atsim.FaultEndlessList, DID: did, Always: true})
	if _, err := r.fetch(r.accounts()); err != nil {
		t.Fatal(err)
	}
	r.same(did)
}

// A record was deleted within the gap, and comes back, live, while its account is asked.
func TestI2_ARecordThatCameBackMeanwhileIsNotDeleted(t *testing.T) {
	r := newRig(t, 1)
	did := atsim.DID(seed, 1)
	at := time.Now().Add(-10 * time.Minute)
	post := func(n int, when time.Time, operation string) atsim.Event {
		e := atsim.Event{DID: did, Time: when, Rev: atsim.TID(when, 0), Operation: operation, Collection: posts, RKey: atsim.TID(at.Add(time.Duration(n)*time.Second), 0)}
		if operation != "delete" {
			e.Record = fmt.Appendf(nil, `{"n":%d}`, n)
		}
		return e
	}
	r.happens(true, post(0, at, "create"), post(1, at.Add(time.Second), "create"))
	r.row.FromUS = at.Add(time.Minute).UnixMicro()
	r.happens(false, post(1, at.Add(2*time.Minute), "delete"), post(150, at.Add(3*time.Minute), "create"))
	r.filter.DIDs, r.filter.Collections = []string{did}, []string{posts}
	back := false
	r.stop = func(int) error {
		if !back {
			back = true
			r.happens(true, post(1, time.Now(), "create"))
		}
		return nil
	}
	if _, err := r.fetch(r.accounts()); err != nil || !back {
		t.Fatalf("%v, back: %v", err, back)
	}
	r.same(did)
}

// The budget ends a fetch, and a panic of a worker does not end the daemon.
func TestAccountsFetchEnds(t *testing.T) {
	r := newRig(t, 1)
	r.gap(5, 30)
	o := r.order()
	o.Budget = 10
	if _, err := r.accounts().Fetch(t.Context(), o, r.deliver("accounts")); !errors.Is(err, backfill.ErrPermanent) || !strings.Contains(err.Error(), "budget") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.accounts().Fetch(ctx, r.order(), r.deliver("accounts")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var panics atomic.Int32
	r.crew.Tell = func(string, *beside.Panic) { panics.Add(1) }
	r.row.Progress = nil
	r.network.Client = nil
	if _, err := r.fetch(r.accounts()); err == nil || panics.Load() == 0 {
		t.Errorf("%v after %d panics", err, panics.Load())
	}
}

// The cheapest repair: 10 000 accounts, of which 50 have missed something.
func TestFewRequestsRepairManyAccounts(t *testing.T) {
	all, missed := 10_000, 50
	if raceEnabled {
		all = 1_500
	}
	r := newRig(t, 8)
	at := time.Now().Add(-3 * time.Hour)
	event := func(n int, when time.Time) atsim.Event {
		return atsim.Event{DID: atsim.DID(seed, n), Time: when, Rev: atsim.TID(when, 0), Operation: "create", Collection: posts, RKey: atsim.TID(when, uint64(n)), Record: fmt.Appendf(nil, `{"n":%d}`, n)}
	}
	var events []atsim.Event
	for n := range all {
		events = append(events, event(n, at))
		r.filter.DIDs = append(r.filter.DIDs, atsim.DID(seed, n))
	}
	for some := range slices.Chunk(events, 1000) {
		r.happens(true, some...)
	}
	for n := range missed {
		r.happens(false, event(n*7, at.Add(2*time.Hour)))
	}
	r.row.FromUS = at.Add(90 * time.Minute).UnixMicro()
	r.filter.Collections = []string{posts}
	before, began := r.stored, time.Now()
	result, err := r.fetch(r.accounts())
	if err != nil || r.stored != before+missed {
		t.Fatalf("%d stored, %v", r.stored-before, err)
	}
	r.same(r.filter.DIDs...)
	got := r.sim.Requests()
	if got["plc"] != all || got["getLatestCommit"] != all || got["listRecords"] != 2*missed {
		t.Errorf("requests %v", got)
	}
	t.Logf("%d accounts, %d missed something: %v in %v; %s", all, missed, got, time.Since(began).Round(time.Millisecond), result.Missing)
}
