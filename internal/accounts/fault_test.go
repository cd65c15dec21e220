package accounts_test

import (
	"errors"
	"testing"
	"time"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/signing"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
	"tempestd/internal/atsim"
)

// what became of one question.
type became struct {
	state    accounts.State
	moved    bool
	end      accounts.End
	records  int
	skipped  int
	why      error // of what was skipped
	err      error
	waited   time.Duration // that a host asked for
	requests int           // for the method
}

// What the client makes of every fault. 250 posts are three pages and an empty one.
func TestEveryFaultOfAServer(t *testing.T) {
	const list, get, head = "listRecords", "getRepo", "getLatestCommit"
	missing := map[string]bool{}
	for _, f := range atsim.Faults() {
		missing[f.Name] = !f.Session
	}
	for _, row := range []struct {
		fault  string
		always bool
		method string
		want   became
	}{
		{atsim.FaultRateLimit, false, list, became{records: 250, waited: 5 * time.Minute, requests: 5}},
		{atsim.FaultRateLimit, true, list, became{err: &xrpc.Error{Status: 429}, waited: 4 * 5 * time.Minute, requests: 5}},
		{atsim.FaultRetryAfter, false, list, became{records: 250, waited: 5 * time.Minute, requests: 5}},
		{atsim.FaultRetryAfter, false, get, became{records: 250, waited: 5 * time.Minute, requests: 2}},
		{atsim.FaultRetryAfter, true, head, became{err: &xrpc.Error{Status: 429}, waited: 4 * 5 * time.Minute, requests: 5}},
		{atsim.FaultServerError, false, list, became{records: 250, requests: 5}},
		{atsim.FaultServerError, true, head, became{err: &xrpc.Error{Status: 503}, requests: 5}},
		{atsim.FaultSlowBody, false, list, became{records: 250, requests: 5}},
		{atsim.FaultSlowBody, true, list, became{err: xrpc.ErrUnreachable, requests: 2}},
		{atsim.FaultSlowBody, false, get, became{records: 250, requests: 2}},
		{atsim.FaultSlowBody, true, get, became{err: xrpc.ErrUnreachable, requests: 2}},
		{atsim.FaultCutBody, false, list, became{records: 250, requests: 5}},
		{atsim.FaultCutBody, true, head, became{err: xrpc.ErrUnreachable, requests: 2}},
		{atsim.FaultCutBody, false, get, became{records: 250, requests: 2}},
		{atsim.FaultLargeBody, true, list, became{err: xrpc.ErrTooLarge, requests: 4}}, // for 100, 25, 6 records, and one
		{atsim.FaultLargeBody, true, head, became{err: xrpc.ErrTooLarge, requests: 1}},
		{atsim.FaultLargeBody, true, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultNotJSON, false, list, became{err: accounts.ErrAnswer, requests: 1}},
		{atsim.FaultNotJSON, false, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultRedirect, false, list, became{err: guard.ErrForbidden, requests: 1}},
		{atsim.FaultRedirect, false, get, became{err: guard.ErrForbidden, requests: 1}},

		{atsim.FaultMoved, false, list, became{moved: true, records: 250, requests: 5}},
		{atsim.FaultMoved, false, get, became{moved: true, records: 250, requests: 2}},
		{atsim.FaultMoved, true, head, became{moved: true, state: accounts.Deactivated, requests: 2}}, // it is not chased
		{atsim.FaultTombstoned, false, list, became{state: accounts.Tombstoned, requests: 1}},
		{atsim.FaultDeactivated, false, list, became{state: accounts.Deactivated, requests: 1}},
		{atsim.FaultTakenDown, false, get, became{state: accounts.TakenDown, requests: 1}},
		{atsim.FaultSuspended, false, head, became{state: accounts.Suspended, requests: 1}},
		{atsim.FaultNotFound, false, list, became{state: accounts.NotFound, requests: 1}},
		{atsim.FaultNotFound, false, get, became{state: accounts.NotFound, requests: 1}},
		{atsim.FaultNoServer, true, get, became{state: accounts.NoServer}},
		{atsim.FaultBadDocument, false, get, became{err: identity.ErrDocument}},

		{atsim.FaultEmptyPage, false, list, became{records: 250, requests: 5}},
		{atsim.FaultEmptyPage, true, list, became{end: accounts.EndEmpty, requests: 20}},
		{atsim.FaultRepeatedCursor, true, list, became{end: accounts.EndRepeats, records: 200, requests: 2}},
		{atsim.FaultEndlessList, true, list, became{end: accounts.EndBound, records: 1000, requests: 10}},
		{atsim.FaultWrongCID, false, list, became{records: 249, skipped: 1, why: accounts.ErrCID, requests: 4}},
		{atsim.FaultFloat, false, list, became{records: 249, skipped: 1, why: dagcbor.ErrOutsideModel, requests: 4}},
		{atsim.FaultForeignPath, false, list, became{records: 249, skipped: 1, why: accounts.ErrPath, requests: 4}},

		{atsim.FaultWrongHash, true, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultTruncatedCAR, true, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultCyclicTree, true, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultDeepTree, true, get, became{err: repo.ErrCorrupt, requests: 1}},
		{atsim.FaultMissingBlock, true, get, became{err: repo.ErrCorrupt, records: -1, requests: 1}},
		{atsim.FaultWrongSignature, true, get, became{err: signing.ErrSignature, requests: 1}},
		{atsim.FaultOtherAccount, true, get, became{err: accounts.ErrAnswer, requests: 1}},
	} {
		missing[row.fault] = false
		name := row.fault + " once/" + row.method
		if row.always {
			name = row.fault + " always/" + row.method
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			did := atsim.DID(seed, 0)
			r.posts(t, did, 250)
			f := atsim.Fault{Name: row.fault, Always: row.always, DID: did, Method: row.method, For: 5 * time.Minute}
			if row.fault == atsim.FaultNoServer || row.fault == atsim.FaultBadDocument {
				f.Method = "document"
			}
			r.sim.Inject(f)
			got := r.ask(t, did, row.method)
			want := row.want
			refused, ok := want.err.(*xrpc.Error)
			var e *xrpc.Error
			switch {
			case ok && errors.As(got.err, &e) && e.Status == refused.Status, !ok && errors.Is(got.err, want.err):
				got.err, want.err = nil, nil
			}
			if want.records < 0 { // those before the fault came to light
				got.records = want.records
			}
			if !errors.Is(got.why, want.why) {
				t.Errorf("skipped because of %v", got.why)
			}
			if got.why, want.why = nil, nil; got != want {
				t.Errorf("became %+v\nwant   %+v", got, want)
			}
			if n := r.sim.Requests()["inside"]; n > 0 {
				t.Errorf("%d requests went inside", n)
			}
		})
	}
	for name, is := range missing {
		if is {
			t.Errorf("the fault %s is not tried", name)
		}
	}
}

// ask asks by a method.
func (r *rig) ask(t *testing.T, did, method string) became {
	var b became
	count := func(accounts.Record) error { b.records++; return nil }
	switch method {
	case "listRecords":
		l, err := r.List(t.Context(), did, posts, accounts.ListOptions{Most: 1000}, count)
		b.state, b.moved, b.end, b.skipped, b.err = l.State, l.Moved, l.End, l.Skipped, err
	case "getRepo":
		d, err := r.Repository(t.Context(), did, nil, count)
		b.state, b.moved, b.skipped, b.err = d.State, d.Moved, d.Skipped, err
	default:
		h, err := r.Latest(t.Context(), did)
		b.state, b.moved, b.err = h.State, h.Moved, err
	}
	b.requests = r.sim.Requests()[method]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.skipped {
		b.why = s.Why
	}
	for i, w := range r.waits {
		if i == 4 { // nobody asked again
			break
		}
		b.waited = w.Until.Sub(epoch)
	}
	return b
}
