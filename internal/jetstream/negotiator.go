package jetstream

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
)

// How long a lesson about an endpoint is valid. Servers are upgraded, and it costs one request to
// learn a lesson again.
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
	endpoints    map[string]*lessons // by Endpoint.String
	dictionaries map[string]*dictionary
}

// lessons are what is known about one endpoint.
type lessons struct {
	v1, plain, bare, short lesson
	sequenced              bool // its v1 frames have sequence numbers, so it is no legacy server
}

// lesson is a fact that is valid for a while.
type lesson struct {
	until time.Time
	why   string
}

// NewNegotiator makes a Negotiator that keeps dictionaries in the directory cacheDir, which is
// created with the first dictionary. With "" dictionaries are kept in memory only.
func NewNegotiator(cacheDir string, clock clockwork.Clock) *Negotiator {
	return &Negotiator{clock: clock, dir: cacheDir, endpoints: make(map[string]*lessons), dictionaries: make(map[string]*dictionary)}
}

// about returns what is known about an endpoint, without expired lessons.
func (n *Negotiator) about(e Endpoint) lessons {
	if n == nil {
		return lessons{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.endpoints[e.String()]
	if known == nil {
		return lessons{}
	}
	now := n.clock.Now()
	for _, l := range []*lesson{&known.v1, &known.plain, &known.bare, &known.short} {
		if !now.Before(l.until) {
			*l = lesson{}
		}
	}
	return *known
}

// learn changes what is known about an endpoint.
func (n *Negotiator) learn(e Endpoint, change func(*lessons)) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.endpoints[e.String()]
	if known == nil {
		known = new(lessons)
		n.endpoints[e.String()] = known
	}
	change(known)
}

// lesson makes a lesson that is valid from now on, for d.
func (n *Negotiator) lesson(d time.Duration, why string) lesson {
	return lesson{until: n.clock.Now().Add(d), why: why}
}

func (n *Negotiator) hasNoV2(e Endpoint, why string) {
	n.learn(e, func(l *lessons) { l.v1 = n.lesson(v1For, why) })
}

func (n *Negotiator) cannotPack(e Endpoint, why string) {
	n.learn(e, func(l *lessons) { l.plain = n.lesson(plainFor, why) })
}

func (n *Negotiator) hasNoDictionary(e Endpoint, why string) {
	n.learn(e, func(l *lessons) { l.bare = n.lesson(plainFor, why) })
}

func (n *Negotiator) wantsShortURLs(e Endpoint, why string) {
	n.learn(e, func(l *lessons) { l.short = n.lesson(shortFor, why) })
}

// sawFirst learns from the first event of a v1 connection.
func (n *Negotiator) sawFirst(e Endpoint, first messages.Event) {
	n.learn(e, func(l *lessons) { l.sequenced = first.Seq > 0 })
}
