package jetsim

import (
	"bytes"
	"encoding/base64"
	"strconv"
)

// appendRecord appends an event's record. Its keys are sorted, because the network's encoders sort
// them.
func (w *network) appendRecord(b []byte, r *random, e *event, us uint64) []byte {
	b = append(b, `{"$type":"`...)
	b = append(b, w.specs[e.shape].collection...)
	b = append(b, '"')
	b = w.appendMembers(b, r, e, us)
	if w.isLarge(e.num) {
		b = append(b, `,"zz":"`...) // "zz" sorts last
		b = append(b, bytes.Repeat([]byte("z"), w.largeBytes)...)
		b = append(b, '"')
	}
	return append(b, '}')
}

// isLarge reports whether content num, if it has a record, is a large one.
func (w *network) isLarge(num int64) bool {
	return w.largeEvery > 0 && num%w.largeEvery == w.largeEvery-1
}

// appendMembers appends the members of a record that follow its $type.
func (w *network) appendMembers(b []byte, r *random, e *event, us uint64) []byte {
	switch e.shape {
	case like, likeVia, repost, repostVia:
		b = appendCreatedAt(b, us)
		b = append(b, `,"subject":{`...)
		if e.subject > 0 {
			b = w.appendSubject(b, e)
		} else {
			b = appendRef(b, r, us, "app.bsky.feed.post")
		}
		if e.shape == likeVia || e.shape == repostVia {
			b = append(b, `},"via":{`...)
			b = appendRef(b, r, us, "app.bsky.feed.repost")
		}
		return append(b, '}')
	case follow, block:
		b = appendCreatedAt(b, us)
		b = append(b, `,"subject":"`...)
		b = r.appendDID(b)
		return append(b, '"')
	case listItem:
		b = appendCreatedAt(b, us)
		b = append(b, `,"list":"at://`...)
		b = append(b, w.did(e.account)...)
		b = append(b, `/app.bsky.graph.list/`...)
		b = appendTID(b, us-r.below(30*24*3600*1_000_000), r.next())
		b = append(b, `","subject":"`...)
		b = r.appendDID(b)
		return append(b, '"')
	case post:
		return w.appendPost(b, r, us)
	case profileUpdate:
		b = append(b, `,"avatar":`...)
		b = w.appendBlob(b, r)
		b = append(b, `,"banner":`...)
		b = w.appendBlob(b, r)
		b = appendCreatedAt(b, us)
		b = append(b, `,"description":"`...)
		b = appendText(b, r, languageFor(r), 4+int(r.below(20)))
		b = append(b, `","displayName":"`...)
		b = appendText(b, r, languageFor(r), 2)
		return append(b, '"')
	case statusUpdate:
		b = appendCreatedAt(b, us)
		b = append(b, `,"durationMinutes":240,"embed":{"$type":"app.bsky.embed.external","external":{"$type":"app.bsky.embed.external#external","description":"`...)
		b = appendText(b, r, languageFor(r), 5+int(r.below(15)))
		b = append(b, `","thumb":`...)
		b = w.appendBlob(b, r)
		b = append(b, `,"title":"`...)
		b = appendText(b, r, english, 3)
		b = append(b, `","uri":"https://live.example/`...)
		b = r.appendBase32(b, 10)
		return append(b, `"}},"status":"app.bsky.actor.status#live"`...)
	case playUpdate:
		b = append(b, `,"expiry":"`...)
		b = appendTime(b, us+600_000_000)
		b = append(b, `","item":{"artists":[{"artistName":"`...)
		b = appendText(b, r, english, 2)
		b = append(b, `"}],"duration":null,"playedTime":"`...)
		b = appendTime(b, us-r.below(3_600_000_000))
		b = append(b, `","releaseName":"`...)
		b = appendText(b, r, english, 2)
		b = append(b, `","submissionClientAgent":"scrobbler/0.14.1","trackName":"`...)
		b = appendText(b, r, english, 3)
		b = append(b, `"},"time":"`...)
		b = appendTime(b, us)
		return append(b, '"')
	case variety:
		return appendVariety(b, r)
	default: // originUpdate
		b = append(b, `,"broadcaster":"did:web:video.example","server":"did:web:relay-0.video.example","streamer":"`...)
		b = append(b, w.did(e.account)...)
		b = append(b, `","updatedAt":"`...)
		b = appendTime(b, us)
		b = append(b, `","websocketURL":"wss://relay-0.video.example/xrpc/place.stream.live.subscribeSegments?streamer=did%3Aplc%3A`...)
		b = append(b, w.did(e.account)[len("did:plc:"):]...)
		return append(b, '"')
	}
}

// appendPost appends a post. A quarter of the posts is plain text; the others reply, link or show
// an image.
func (w *network) appendPost(b []byte, r *random, us uint64) []byte {
	b = appendCreatedAt(b, us)
	lang := languageFor(r)
	var link [16]byte
	kind := r.below(100)
	switch {
	case kind < 14: // a link with its card
		uri := r.appendBase32(link[:0], 12)
		b = append(b, `,"embed":{"$type":"app.bsky.embed.external","external":{"description":"`...)
		b = appendText(b, r, lang, 4+int(r.below(14)))
		b = append(b, `","thumb":`...)
		b = w.appendBlob(b, r)
		b = append(b, `,"title":"`...)
		b = appendText(b, r, lang, 3+int(r.below(7)))
		b = append(b, `","uri":"https://news.example/`...)
		b = append(b, uri...)
		b = append(b, `?from=feed\u0026ref=3"}},"facets":[{"features":[{"$type":"app.bsky.richtext.facet#link","uri":"https://news.example/`...)
		b = append(b, uri...)
		b = append(b, `?from=feed\u0026ref=3"}],"index":{"byteEnd":25,"byteStart":0}}]`...)
	case kind < 30: // an image
		b = append(b, `,"embed":{"$type":"app.bsky.embed.images","images":[{"alt":"`...)
		b = appendText(b, r, lang, int(r.below(10)))
		b = append(b, `","aspectRatio":{"height":`...)
		b = strconv.AppendUint(b, 400+r.below(3600), 10)
		b = append(b, `,"width":`...)
		b = strconv.AppendUint(b, 400+r.below(3600), 10)
		b = append(b, `},"image":`...)
		b = w.appendBlob(b, r)
		b = append(b, `}]}`...)
	}
	b = append(b, `,"langs":["`...)
	b = append(b, lang.tag()...)
	b = append(b, `"]`...)
	if kind >= 30 && kind < 75 {
		b = append(b, `,"reply":{"parent":{`...)
		parent := len(b)
		b = appendRef(b, r, us, "app.bsky.feed.post")
		end := len(b)
		b = append(b, `},"root":{`...)
		if r.below(2) == 0 {
			b = append(b, b[parent:end]...) // the parent is the root
		} else {
			b = appendRef(b, r, us, "app.bsky.feed.post")
		}
		b = append(b, `}}`...)
	}
	b = append(b, `,"text":"`...)
	if kind < 14 {
		b = append(b, `news.example/`...)
		b = append(b, link[:12]...)
		b = append(b, ' ')
	}
	b = appendText(b, r, lang, 1+int(r.below(56)))
	return append(b, '"')
}

// appendSubject appends the members of a strong reference to the post that a repost shows.
func (w *network) appendSubject(b []byte, e *event) []byte {
	t := w.base(e.subject)
	c := w.commitOf(&t)
	b = append(b, `"cid":"`...)
	b = w.appendRecordCID(b, &t, &c)
	b = append(b, `","uri":"at://`...)
	b = append(b, w.did(t.account)...)
	b = append(b, `/app.bsky.feed.post/`...)
	b = w.appendKey(b, &t, &c)
	return append(b, '"')
}

// appendRef appends the members of a strong reference to a record of the last three days.
func appendRef(b []byte, r *random, us uint64, collection string) []byte {
	b = append(b, `"cid":"`...)
	b = r.appendCID(b, recordCID)
	b = append(b, `","uri":"at://`...)
	b = r.appendDID(b)
	b = append(b, '/')
	b = append(b, collection...)
	b = append(b, '/')
	b = appendTID(b, us-r.next()%(3*24*3600*1_000_000), r.next())
	return append(b, '"')
}

func (w *network) appendBlob(b []byte, r *random) []byte {
	if w.archived { // with sorted keys
		b = append(b, `{"$type":"blob","mimeType":"image/jpeg","ref":{"$link":"`...)
		b = r.appendCID(b, blobCID)
		b = append(b, `"},"size":`...)
		b = strconv.AppendUint(b, 20_000+r.below(980_000), 10)
		return append(b, '}')
	}
	b = append(b, `{"$type":"blob","ref":{"$link":"`...)
	b = r.appendCID(b, blobCID)
	b = append(b, `"},"mimeType":"image/jpeg","size":`...)
	b = strconv.AppendUint(b, 20_000+r.below(980_000), 10)
	return append(b, '}')
}

func appendCreatedAt(b []byte, us uint64) []byte {
	b = append(b, `,"createdAt":"`...)
	b = appendTime(b, us)
	return append(b, '"')
}

// appendVariety appends a value of every type of the data model, with everything that encoders treat
// in different ways: keys whose order by length is not that of their bytes, the greatest and least
// integers, control characters, line separators, bytes and links.
func appendVariety(b []byte, r *random) []byte {
	var blob [24]byte
	for i := range blob {
		blob[i] = byte(r.next())
	}
	b = append(b, `,"b":[{"$bytes":"`...)
	b = base64.RawStdEncoding.AppendEncode(b, blob[:r.below(uint64(len(blob)))])
	b = append(b, `"},[],{},[[null]]],"big":`...)
	b = strconv.AppendInt(b, int64(r.next()>>r.below(64)), 10)
	b = append(b, `,"bounds":[-9223372036854775808,9223372036854775807,-1,0,23,24,255,256,65535,65536,4294967295,4294967296],"controls":"`...)
	for range r.below(6) {
		b = append(b, [...]string{`\b`, `\f`, `\r`, `\t`, `\u0000`, `\u001f`, "\x7f", `\u2028`, `\u2029`, `\u003c\u0026\u003e`, `\\`, `\"`, "\u0085", "\U0001f300", "\uffff"}[r.below(15)]...)
	}
	b = append(b, `","keys":{"":true,"\u003cé\u2028\u003e":`...)
	b = strconv.AppendUint(b, r.below(1000), 10)
	b = append(b, `,"a":1,"aaaa":false,"bb":2},"links":[{"$link":"`...)
	b = r.appendCID(b, recordCID)
	b = append(b, `"},{"$link":"`...)
	b = r.appendCID(b, blobCID)
	b = append(b, `"}],"text":"`...)
	b = appendText(b, r, languageFor(r), 1+int(r.below(9)))
	return append(b, '"')
}
