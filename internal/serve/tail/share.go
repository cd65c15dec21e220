package tail

import (
	"net/http"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
)

// Share opens the share of the memory that a request has: its headers, its filter, its pages. The
// caller must close it. The request line is a part of it, which net/http keeps for as long as the
// connection waits: a query of thousands of accounts is long. The error is 503 Overloaded when there
// is no room for another request.
func (t *Tails) Share(r *http.Request) (*budget.Share, error) {
	share := t.budget.Open(t.peers.Of(r))
	size := len(r.RequestURI)
	for name, values := range r.Header {
		size += len(name)
		for _, v := range values {
			size += len(v)
		}
	}
	if !share.Keep(int64(size)) {
		share.Close()
		return nil, api.Overloaded()
	}
	return share, nil
}

// keepFilter makes a filter a part of the share. Requests of the same client that name the same
// accounts share the memory of these.
func keepFilter(share *budget.Share, filter *jetstream.Matcher) (*jetstream.Matcher, bool) {
	dids := filter.DIDs()
	if !share.Keep(int64(filter.Size() - dids.Size())) {
		return nil, false
	}
	if dids == nil {
		return filter, true
	}
	kept, ok := KeepDIDs(share, dids)
	if !ok {
		share.Keep(int64(dids.Size() - filter.Size()))
		return nil, false
	}
	return filter.WithDIDs(kept), true
}

// forgetFilter gives back what keepFilter kept.
func forgetFilter(share *budget.Share, filter *jetstream.Matcher) {
	dids := filter.DIDs()
	share.Keep(int64(dids.Size() - filter.Size()))
	if dids != nil {
		share.Leave(dids.Digest())
	}
}

// KeepDIDs makes a set of accounts a part of the share, and returns the set that all requests of the
// client share.
func KeepDIDs(share *budget.Share, dids *atproto.DIDSet) (*atproto.DIDSet, bool) {
	if dids == nil {
		return nil, true
	}
	kept, ok := share.KeepShared(dids.Digest(), int64(dids.Size()), dids)
	if !ok {
		return nil, false
	}
	return kept.(*atproto.DIDSet), true
}
