package jetsim

import (
	"math/bits"

	"tempestd/internal/subscribe"
)

// shape is the kind of event that a content is.
type shape uint8

const (
	like shape = iota
	likeVia
	likeDelete
	repost
	repostVia
	repostDelete
	post
	postDelete
	follow
	followDelete
	block
	blockDelete
	listItem
	profileUpdate
	statusUpdate
	playUpdate
	originUpdate
	identityEvent
	accountEvent
	syncEvent
	variety // only in an archived network
	shapeCount
)

// shapeSpec says how often a shape occurs, and the properties that a filter can test.
type shapeSpec struct {
	weight     int    // of 1000; from a sample of the production network
	collection string // "" for an event that is not a commit
	operation  string
	alone      bool // has a fixed key or is no commit: never one operation of several in a commit
}

// spec describes a shape.
func (s shape) spec() shapeSpec {
	switch s {
	case like:
		return shapeSpec{536, "app.bsky.feed.like", "create", false}
	case likeVia:
		return shapeSpec{92, "app.bsky.feed.like", "create", false}
	case likeDelete:
		return shapeSpec{20, "app.bsky.feed.like", "delete", false}
	case repost:
		return shapeSpec{82, "app.bsky.feed.repost", "create", false}
	case repostVia:
		return shapeSpec{12, "app.bsky.feed.repost", "create", false}
	case repostDelete:
		return shapeSpec{6, "app.bsky.feed.repost", "delete", false}
	case post:
		return shapeSpec{112, "app.bsky.feed.post", "create", false}
	case postDelete:
		return shapeSpec{10, "app.bsky.feed.post", "delete", false}
	case follow:
		return shapeSpec{44, "app.bsky.graph.follow", "create", false}
	case followDelete:
		return shapeSpec{22, "app.bsky.graph.follow", "delete", false}
	case block:
		return shapeSpec{9, "app.bsky.graph.block", "create", false}
	case blockDelete:
		return shapeSpec{3, "app.bsky.graph.block", "delete", false}
	case listItem:
		return shapeSpec{6, "app.bsky.graph.listitem", "create", false}
	case profileUpdate:
		return shapeSpec{8, "app.bsky.actor.profile", "update", true}
	case statusUpdate:
		return shapeSpec{6, "app.bsky.actor.status", "update", true}
	case playUpdate:
		return shapeSpec{8, "fm.teal.alpha.actor.status", "update", true}
	case originUpdate:
		return shapeSpec{4, "place.stream.broadcast.origin", "update", true}
	case identityEvent:
		return shapeSpec{8, "", "", true}
	case accountEvent:
		return shapeSpec{8, "", "", true}
	case syncEvent:
		return shapeSpec{4, "", "", true}
	case variety:
		return shapeSpec{0, "com.example.variety", "create", false}
	}
	return shapeSpec{}
}

// kindName returns the name of a single kind.
func kindName(k subscribe.Kinds) string {
	switch k {
	case subscribe.Commit:
		return "commit"
	case subscribe.Identity:
		return "identity"
	case subscribe.Account:
		return "account"
	}
	return "sync"
}

func (s shape) kind() subscribe.Kinds {
	switch s {
	case identityEvent:
		return subscribe.Identity
	case accountEvent:
		return subscribe.Account
	case syncEvent:
		return subscribe.Sync
	}
	return subscribe.Commit
}

// event is everything about content n except its text.
type event struct {
	num int64
	// commit is the content number of the commit's first operation, or num for an event that is no
	// commit.
	commit  int64
	account uint64 // index of the account
	shape   shape
	op      uint64 // index within the commit, 0…8
	bits    random // the source of the event's text
	// target is the content whose record a delete removes; 0 for a record from before the network.
	target int64
	// subject is the content whose post a repost shows; 0 for a post that the network does not have.
	subject int64
}

// network is the simulated network: a pure function from content numbers to events.
type network struct {
	seed     uint64
	accounts uint64
	dids     []byte // didLen bytes per account
	specs    [shapeCount]shapeSpec
	shapes   [1000]shape // each shape occurs as often as its weight says
	archived bool        // see newNetwork

	made *made

	largeEvery int64 // 0 for never
	largeBytes int
}

// The salts separate the streams of random numbers that come from one seed.
const (
	saltDID = 0x5bd1e995_00000000 + iota<<24
	saltLayout
	saltCommit
	saltEvent
	saltGap
	saltLag
	saltSkew
	saltCID
	saltTarget
	saltResync
	saltLead
	saltSubject
)

// varieties is how many contents in a thousand an archived network has of the shape variety.
const varieties = 20

// newNetwork returns the network of a seed, whose contents are made at the times of made. When syncs
// is false, it has likes in place of sync events.
//
// The contents of an archived network survive a change to DAG-CBOR and back: their CIDs are the
// hashes of their records, all keys are sorted, some records have a value of every type, most deletes
// remove a record of the network, and most reposts show a post of it.
func newNetwork(seed uint64, accounts int, syncs, archived bool, made *made) *network {
	w := &network{seed: mix(seed + golden), accounts: uint64(accounts), archived: archived, made: made}
	w.dids = make([]byte, 0, accounts*didLen)
	for i := range accounts {
		r := random(w.hash(saltDID, uint64(i)))
		w.dids = r.appendDID(w.dids)
	}
	i := 0
	for s := range shapeCount {
		w.specs[s] = s.spec()
		for range w.specs[s].weight {
			if w.shapes[i] = s; s == syncEvent && !syncs {
				w.shapes[i] = like
			}
			i++
		}
	}
	for i := range varieties {
		if archived {
			w.shapes[i] = variety // in place of a like
		}
	}
	return w
}

func (w *network) hash(salt, x uint64) uint64 { return mix(w.seed ^ salt ^ mix(x+golden)) }

func (w *network) did(account uint64) []byte {
	return w.dids[account*uint64(didLen) : (account+1)*uint64(didLen)]
}

// Contents are laid out in blocks of nine, the length of the longest commit observed. A layout has
// one bit per operation of the block: a set bit says that the operation continues the commit of the
// one before it. So the commit of any content is found without a look at the contents of other
// blocks. The weights make 17 % of all contents continue a commit, as observed in the production
// network.
const blockLen = 9

func (w *network) layout(block uint64) uint16 {
	switch k := w.hash(saltLayout, block) >> 58; {
	case k < 26:
		return 0b000000000
	case k < 32:
		return 0b000000100
	case k < 36:
		return 0b010000000
	case k < 44:
		return 0b001000010
	case k < 50:
		return 0b000110000
	case k < 55:
		return 0b000001110
	case k < 59:
		return 0b111100000
	case k < 62:
		return 0b001111100
	case k < 63:
		return 0b001111110
	default:
		return 0b111111110
	}
}

// event returns content n. The same n always gives the same event, and no two contents have the
// same identity.
func (w *network) event(n int64) event {
	e := w.base(n)
	if !w.archived {
		return e
	}
	spec := &w.specs[e.shape]
	switch {
	case spec.operation == "delete" && e.op == 0 && !w.continues(n+1):
		// It becomes a commit of the record's account.
		if t, ok := w.earlier(&e, saltTarget, spec.collection); ok {
			e.account, e.target = t.account, t.num
		}
	case e.shape == repost, e.shape == repostVia:
		if t, ok := w.earlier(&e, saltSubject, w.specs[post].collection); ok {
			e.subject = t.num
		}
	}
	return e
}

// earlier returns a content of the last few thousand that creates a record of a collection, if a few
// attempts find one.
func (w *network) earlier(e *event, salt uint64, collection string) (event, bool) {
	const attempts, reach = 8, 5000
	r := random(w.hash(salt, uint64(e.num)))
	for range attempts {
		back := 1 + int64(r.below(reach))
		if back >= e.num {
			continue
		}
		t := w.base(e.num - back)
		if spec := &w.specs[t.shape]; spec.operation == "create" && spec.collection == collection {
			return t, true
		}
	}
	return event{}, false
}

// base returns content n without the target of a delete.
func (w *network) base(n int64) event {
	i := uint(n % blockLen)
	layout := w.layout(uint64(n / blockLen))
	// begins has a bit for each operation up to this one that begins a commit. Bit 0 is always set.
	begins := ^layout & (1<<(i+1) - 1)
	op := i - uint(bits.Len16(begins)-1)

	e := event{num: n, commit: n - int64(op), op: uint64(op), bits: random(w.hash(saltEvent, uint64(n)))}
	// The square makes a few accounts produce many events, and most accounts few.
	u := w.hash(saltCommit, uint64(e.commit)) >> 32
	e.account = u * u >> 32 * w.accounts >> 32
	e.shape = w.shapes[e.bits.below(1000)]
	if (op > 0 || layout>>(i+1)&1 != 0) && w.specs[e.shape].alone {
		e.shape = like
	}
	return e
}

// continues reports whether content n belongs to the same commit as content n-1.
func (w *network) continues(n int64) bool {
	return w.layout(uint64(n/blockLen))>>(n%blockLen)&1 != 0
}

// Every account has a clock of its own, which is up to revSkew behind that of the network. So revs
// rise within an account and have no order across accounts.
const revSkew = 5_000_000 // µs

// revUS returns the time in the rev of a commit, or of the message of another event, Unix µs: a
// multiple of tick that no other commit of the account has.
func (w *network) revUS(e *event) uint64 {
	return uint64(w.made.at(e.commit)) - w.hash(saltSkew, e.account)%revSkew&^(tick-1)
}

// relayOrigin is the relay's sequence number of content 0. Identity and account events carry the
// relay's number.
const relayOrigin = 31_527_015_470
