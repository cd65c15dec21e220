package jetsim

import (
	"math/bits"

	"tempestd/internal/subscribe"
)

// shape is what kind of event a content is.
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
	shapeCount
)

// shapeSpec says how often a shape occurs and what a filter may ask about it.
type shapeSpec struct {
	weight     int    // of 1000; after a sample of the production network
	collection string // "" for an event that is not a commit
	operation  string
	alone      bool // has a fixed key or is no commit: never one of several operations
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
	}
	return shapeSpec{}
}

// kindName is the name of a single kind.
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

// event is everything about content n but its text.
type event struct {
	num     int64
	commit  int64  // content number of the commit's first operation; num itself for what is no commit
	account uint64 // index of the account
	shape   shape
	op      uint64 // index within the commit, 0…8
	bits    random // the source of the event's text
}

// network is the simulated network: a pure function from content numbers to events.
type network struct {
	seed     uint64
	accounts uint64
	dids     []byte // didLen bytes an account
	specs    [shapeCount]shapeSpec
	shapes   [1000]shape // a shape as often as its weight

	largeEvery int64 // 0 for never
	largeBytes int
}

// Salts keep the streams of random numbers apart that one seed gives.
const (
	saltDID = 0x5bd1e995_00000000 + iota<<24
	saltLayout
	saltCommit
	saltEvent
	saltGap
	saltLag
	saltSkew
	saltCID
)

// newNetwork is the network of a seed. Without syncs it has likes in the place of sync events.
func newNetwork(seed uint64, accounts int, syncs bool) *network {
	w := &network{seed: mix(seed + golden), accounts: uint64(accounts)}
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
	return w
}

func (w *network) hash(salt, x uint64) uint64 { return mix(w.seed ^ salt ^ mix(x+golden)) }

func (w *network) did(account uint64) []byte {
	return w.dids[account*uint64(didLen) : (account+1)*uint64(didLen)]
}

// Contents are laid out in blocks of nine, the longest commit observed. A block's layout says with a bit an
// operation which ones continue the commit of the one before, so that the commit of any content is found without looking at
// the others. The layouts are weighted so that 17 % of all contents continue a commit, as they did there.
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

// event is content n. The same n gives the same event for ever; no two give the same identity.
func (w *network) event(n int64) event {
	i := uint(n % blockLen)
	layout := w.layout(uint64(n / blockLen))
	begins := ^layout & (1<<(i+1) - 1) // operations up to this one that begin a commit; bit 0 is always set
	op := i - uint(bits.Len16(begins)-1)

	e := event{num: n, commit: n - int64(op), op: uint64(op), bits: random(w.hash(saltEvent, uint64(n)))}
	// A square gives few accounts many events and most accounts few.
	u := w.hash(saltCommit, uint64(e.commit)) >> 32
	e.account = u * u >> 32 * w.accounts >> 32
	e.shape = w.shapes[e.bits.below(1000)]
	if (op > 0 || layout>>(i+1)&1 != 0) && w.specs[e.shape].alone {
		e.shape = like
	}
	return e
}

// continues says whether content n belongs to the commit of content n-1.
func (w *network) continues(n int64) bool {
	return w.layout(uint64(n/blockLen))>>(n%blockLen)&1 != 0
}

// The clock of the network's accounts. Contents know nothing of the server's time: a commit's rev grows by revStep with its
// number, from an origin that is the account's own, so revs rise for each account and are in no order across accounts.
const (
	revOrigin = 1_767_225_600_000_000 // 2026-01-01, Unix µs
	revStep   = 2_000                 // µs
	revSkew   = 5_000_000             // µs
)

func (w *network) revUS(e *event) uint64 {
	return revOrigin + uint64(e.commit)*revStep + w.hash(saltSkew, e.account)%revSkew
}

// relayOrigin is the relay's sequence number of content 0, as identity and account events carry it.
const relayOrigin = 31_527_015_470
