package jetstream

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Filter says which events are wanted. The zero Filter wants all. Identity and account events pass every filter of collections.
type Filter struct {
	Collections []string // NSIDs, or prefixes of some that end in ".*"; 100 at most
	DIDs        []string // 10 000 at most
}

// Request is one subscription.
type Request struct {
	Endpoint Endpoint
	Filter   Filter
	Cursor   Cursor
}

// url is the URL to dial: the one place where a request is put on the wire. It may hold userinfo: it is not for showing. A
// message size is not asked for: servers leave larger events out silently, which would be a loss nobody notices (I4).
func (r Request) url() (string, error) {
	if r.Endpoint.IsZero() {
		return "", badEndpoint("it is empty")
	}
	if host, seq, ok := r.Cursor.Sequence(); ok && host != r.Endpoint.host {
		return "", fmt.Errorf("%w: %d belongs to %s, not to %s", ErrForeignSeq, seq, host, r.Endpoint.host)
	}
	var query []string
	add := func(key, value string) { query = append(query, key+"="+url.QueryEscape(value)) }
	for _, c := range r.Filter.Collections {
		add("wantedCollections", c)
	}
	for _, d := range r.Filter.DIDs {
		add("wantedDids", d)
	}
	if !r.Cursor.IsLive() {
		add("cursor", strconv.FormatInt(r.Cursor.n, 10))
	}
	u := url.URL{Scheme: r.Endpoint.scheme, User: r.Endpoint.user, Host: r.Endpoint.host, RawQuery: strings.Join(query, "&")}
	u.Path, _ = url.PathUnescape(r.Endpoint.path) // it is what url.Parse gave
	u.RawPath = r.Endpoint.path
	return u.String(), nil
}
