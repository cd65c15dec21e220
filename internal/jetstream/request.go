package jetstream

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Protocol is a version of the wire.
type Protocol uint8

// The protocols.
const (
	ProtocolAuto Protocol = iota // what the endpoint's path says, or else v2 where the server has it
	ProtocolV1                   // /subscribe
	ProtocolV2                   // /xrpc/network.bsky.jetstream.subscribeEvents
)

var protocolNames = [...]string{"auto", "v1", "v2"}

// String is "auto", "v1" or "v2".
func (p Protocol) String() string { return nameOf(protocolNames[:], int(p)) }

// ParseProtocol reads what String writes.
func ParseProtocol(s string) (Protocol, error) {
	i, err := indexOf(protocolNames[:], "protocol", s)
	return Protocol(i), err
}

// Compression is how an upstream packs its messages.
type Compression uint8

// The compressions.
const (
	CompressAuto    Compression = iota // the best that is worth its processor time: see Dial
	CompressOff                        // none
	CompressZstd                       // a zstd frame a message, with a dictionary
	CompressDeflate                    // permessage-deflate, which only v1 servers speak
)

var compressionNames = [...]string{"auto", "off", "zstd", "deflate"}

// String is "auto", "off", "zstd" or "deflate".
func (c Compression) String() string { return nameOf(compressionNames[:], int(c)) }

// ParseCompression reads what String writes.
func ParseCompression(s string) (Compression, error) {
	i, err := indexOf(compressionNames[:], "compression", s)
	return Compression(i), err
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return strconv.Itoa(i)
}

func indexOf(names []string, what, s string) (int, error) {
	for i, name := range names {
		if s == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %.40q; want one of %s", what, s, strings.Join(names, ", "))
}

// Request is one subscription.
type Request struct {
	Endpoint Endpoint
	Filter   Filter
	Cursor   Cursor
	Protocol Protocol
	Compress Compression
	Raw      bool // keep v2 frames as they are, envelope and all, instead of in v1's shape (Unwrap)
}

// maxQuery is the longest query, in bytes, that is put into a v1 URL: common proxies refuse lines above 8 KiB. A longer one goes into the first message
// instead. v2 has no such message, and its servers take lines of up to 1 MiB.
const maxQuery = 8000

// hail is what an attempt says to a server: a URL and, where the filter is too long for one, a first message.
type hail struct {
	url   string // it may hold userinfo: not for showing
	hello []byte // an options_update, nil for none
}

// hail is the one place where a request is put on the wire. ask is the part of the filter that the server is asked for.
//
// A message size is asked for, although servers leave larger events out silently: otherwise an event that is larger than what is
// read ends the connection, and the next one at the same place, for ever.
func (r Request) hail(p Protocol, ask Filter, maxSize int64, packing packing) (hail, error) {
	if host, seq, ok := r.Cursor.Sequence(); ok && host != r.Endpoint.host {
		return hail{}, fmt.Errorf("%w: %d belongs to %s, not to %s", ErrForeignSeq, seq, host, r.Endpoint.host)
	}
	var filter, rest query
	if p == ProtocolV2 {
		filter.addAll("kinds", ask.Kinds)
		filter.addAll("collections", ask.Collections)
		filter.addAll("dids", ask.DIDs)
		if packing.compression == CompressZstd {
			rest.add("zstdDictionary", strconv.FormatUint(uint64(packing.dictionary.id), 10))
		}
	} else {
		filter.addAll("wantedCollections", ask.Collections)
		filter.addAll("wantedDids", ask.DIDs)
		if packing.compression == CompressZstd {
			rest.add("compress", "true")
		}
	}
	rest.add("maxMessageSizeBytes", strconv.FormatInt(maxSize, 10))
	if !r.Cursor.IsLive() {
		rest.add("cursor", strconv.FormatInt(r.Cursor.n, 10))
	}
	var h hail
	if p == ProtocolV1 && filter.Len() > maxQuery {
		rest.add("requireHello", "true")
		h.hello = optionsUpdate(ask, maxSize)
	} else if filter.Len() > 0 {
		rest.WriteByte('&')
		rest.WriteString(filter.String())
	}
	h.url = r.Endpoint.url("ws", p.path(r.Endpoint), rest.String())
	return h, nil
}

// query is a URL's query under construction.
type query struct{ strings.Builder }

func (q *query) add(key, value string) {
	if q.Len() > 0 {
		q.WriteByte('&')
	}
	q.WriteString(key)
	q.WriteByte('=')
	q.WriteString(url.QueryEscape(value))
}

func (q *query) addAll(key string, values []string) {
	for _, v := range values {
		q.add(key, v)
	}
}

// optionsUpdate is the message that gives a v1 subscription another filter, in place of all of the one it has.
func optionsUpdate(ask Filter, maxSize int64) []byte {
	type payload struct {
		WantedCollections   []string `json:"wantedCollections,omitempty"`
		WantedDIDs          []string `json:"wantedDids,omitempty"`
		MaxMessageSizeBytes int64    `json:"maxMessageSizeBytes"`
	}
	message, err := json.Marshal(struct {
		Type    string  `json:"type"`
		Payload payload `json:"payload"`
	}{"options_update", payload{ask.Collections, ask.DIDs, maxSize}})
	if err != nil {
		panic(err) // strings and a number
	}
	return message
}
