package jetstream

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
)

// How long a fact about an endpoint is valid. Servers are upgraded, and it costs one request to
// learn a fact again.
const (
	v1For    = 6 * time.Hour    // the endpoint has no v2
	plainFor = 30 * time.Minute // its messages, or its dictionary, are unusable
	shortFor = 6 * time.Hour    // it refuses long URLs
)

// Negotiator remembers what endpoints can do, and the dictionaries that they gave out. All feeds
// share one. A nil Negotiator remembers nothing. It is safe for concurrent use.
type Negotiator struct {
	clock clockwork.Clock
	dir   string

	mu           sync.Mutex
	endpoints    map[string]*facts // by Endpoint.String
	dictionaries map[string]*dictionary
}

// facts are what is known about one endpoint.
type facts struct {
	v1        fact // it has no v2
	plain     fact // its compressed messages are unusable
	bare      fact // it gives out no dictionary
	short     fact // it refuses long URLs
	sequenced bool // its v1 frames have sequence numbers, so it is no legacy server
}

// fact holds for a while.
type fact struct {
	until time.Time
	why   string // "" if it does not hold
}

// NewNegotiator makes a Negotiator that keeps dictionaries in the directory cacheDir, which is
// created with the first dictionary. With "" dictionaries are kept in memory only.
func NewNegotiator(cacheDir string, clock clockwork.Clock) *Negotiator {
	return &Negotiator{clock: clock, dir: cacheDir, endpoints: make(map[string]*facts), dictionaries: make(map[string]*dictionary)}
}

// about returns what is known about an endpoint, without expired facts.
func (n *Negotiator) about(e Endpoint) facts {
	if n == nil {
		return facts{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.endpoints[e.String()]
	if known == nil {
		return facts{}
	}
	now := n.clock.Now()
	for _, l := range []*fact{&known.v1, &known.plain, &known.bare, &known.short} {
		if !now.Before(l.until) {
			*l = fact{}
		}
	}
	return *known
}

// learn changes what is known about an endpoint.
func (n *Negotiator) learn(e Endpoint, change func(*facts)) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.endpoints[e.String()]
	if known == nil {
		known = new(facts)
		n.endpoints[e.String()] = known
	}
	change(known)
}

// fact makes a fact that holds from now on, for d.
func (n *Negotiator) fact(d time.Duration, why string) fact {
	return fact{until: n.clock.Now().Add(d), why: why}
}

func (n *Negotiator) hasNoV2(e Endpoint, why string) {
	n.learn(e, func(f *facts) { f.v1 = n.fact(v1For, why) })
}

func (n *Negotiator) cannotCompress(e Endpoint, why string) {
	n.learn(e, func(f *facts) { f.plain = n.fact(plainFor, why) })
}

func (n *Negotiator) hasNoDictionary(e Endpoint, why string) {
	n.learn(e, func(f *facts) { f.bare = n.fact(plainFor, why) })
}

func (n *Negotiator) wantsShortURLs(e Endpoint, why string) {
	n.learn(e, func(f *facts) { f.short = n.fact(shortFor, why) })
}

// sawFirst learns from the first event of a v1 connection.
func (n *Negotiator) sawFirst(e Endpoint, first messages.Event) {
	n.learn(e, func(f *facts) { f.sequenced = first.Seq > 0 })
}
