package atsim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// DID is the DID of the nth account of a seed.
func DID(seed uint64, n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	b := []byte("did:plc:")
	for range 24 {
		b = append(b, alphabet[r.IntN(len(alphabet))])
	}
	return string(b)
}

// Generate makes n events of each of some accounts, one after the other from a time on, of a seed:
// posts, likes, reposts, follows, a profile, and now and then a delete.
func Generate(seed uint64, accounts, n int, from time.Time) []Event {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	var events []Event
	alive := make([][]Event, accounts)
	for i := range accounts * n {
		at := from.Add(time.Duration(i) * 10 * time.Millisecond)
		who := i % accounts
		e := Event{DID: DID(seed, who), Time: at, Rev: TID(at, uint64(who)), Operation: "create", RKey: TID(at, uint64(who))}
		when := at.UTC().Format("2006-01-02T15:04:05.000Z")
		target := func() string { return DID(seed, r.IntN(accounts)) }
		switch k := r.IntN(20); {
		case k < 8:
			e.Collection = "app.bsky.feed.post"
			e.Record = fmt.Appendf(nil, `{"text":"%d <b> \"quoted\" & caf\u00e9 \u2028","langs":["en"],"createdAt":"%s","$type":"app.bsky.feed.post"}`, i, when)
		case k < 13:
			e.Collection = "app.bsky.feed.like"
			e.Record = fmt.Appendf(nil, `{"$type":"app.bsky.feed.like","createdAt":"%s","subject":{"uri":"at://%s/app.bsky.feed.post/%s"}}`, when, target(), TID(at, 7))
		case k < 15:
			e.Collection = "app.bsky.feed.repost"
			e.Record = fmt.Appendf(nil, `{"$type":"app.bsky.feed.repost","createdAt":"%s","subject":{"uri":"at://%s/app.bsky.feed.post/%s"}}`, when, target(), TID(at, 7))
		case k < 17:
			e.Collection = "app.bsky.graph.follow"
			e.Record = fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","createdAt":"%s","subject":"%s"}`, when, target())
		case k < 18 || len(alive[who]) == 0:
			e.Operation, e.Collection, e.RKey = "update", "app.bsky.actor.profile", "self"
			e.Record = fmt.Appendf(nil, `{"$type":"app.bsky.actor.profile","displayName":"%d","pinned":{"n":%d,"b":{"$bytes":"AQID"}}}`, i, -i)
		default:
			at := r.IntN(len(alive[who]))
			old := alive[who][at]
			alive[who] = append(alive[who][:at], alive[who][at+1:]...)
			e.Operation, e.Collection, e.RKey = "delete", old.Collection, old.RKey
		}
		if e.Operation == "create" {
			alive[who] = append(alive[who], e)
		}
		events = append(events, e)
	}
	return events
}
