package jetstream

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"tempestd/internal/atproto"
)

// Protocol is a version of the wire protocol.
type Protocol uint8

// Protocols.
const (
	// ProtocolAuto is the protocol of the endpoint's path, or else v2 if the server has it and v1
	// if not.
	ProtocolAuto Protocol = iota
	ProtocolV1            // /subscribe
	ProtocolV2            // /xrpc/network.bsky.jetstream.subscribeEvents
)

var protocolNames = [...]string{"auto", "v1", "v2"}

// String returns "auto", "v1" or "v2".
func (p Protocol) String() string { return nameOf(protocolNames[:], int(p)) }

// ParseProtocol reads what String returns.
func ParseProtocol(s string) (Protocol, error) {
	i, err := indexOf(protocolNames[:], "protocol", s)
	return Protocol(i), err
}

// Compression is how an upstream compresses its messages.
type Compression uint8

// Compressions.
const (
	CompressAuto    Compression = iota // the best one that is worth its processor time: see Dial
	CompressOff                        // none
	CompressZstd                       // one zstd frame per message, with a dictionary
	CompressDeflate                    // permessage-deflate, in v1 only
)

var compressionNames = [...]string{"auto", "off", "zstd", "deflate"}

// String returns "auto", "off", "zstd" or "deflate".
func (c Compression) String() string { return nameOf(compressionNames[:], int(c)) }

// ParseCompression reads what String returns.
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
	Raw      bool // keep v2 frames as they came, envelope included, not in v1's shape (Unwrap)
}

// maxQuery is the greatest length of the filter in a v1 URL, in bytes: common proxies refuse lines
// above 8 KiB. A longer filter goes into the first message. v2 has no such message, and its servers
// accept lines of up to 1 MiB.
const maxQuery = 8000

// handshake is what an attempt sends to a server: a URL and, if the filter is too long for a URL, a
// first message.
type handshake struct {
	url   string // it may contain userinfo, so it must not be shown
	hello []byte // an options_update, nil for none
}

// handshake is the only place where a request is written for the wire. ask is the part of the
// filter that the server is asked for.
//
// The request asks for a size limit, although servers then leave out larger events silently.
// Without it, an event larger than we read would end the connection, and the next connection at the
// same place, forever.
func (r Request) handshake(p Protocol, ask Filter, maxSize int64, codec codec) (handshake, error) {
	if host, seq, ok := r.Cursor.Sequence(); ok && host != r.Endpoint.host {
		return handshake{}, fmt.Errorf("%w: %d belongs to %s, not to %s", ErrForeignSeq, seq, host, r.Endpoint.host)
	}
	var filter, rest query
	if p == ProtocolV2 {
		filter.addAll("kinds", ask.Kinds)
		filter.addAll("collections", ask.Collections)
		filter.addAll("dids", ask.DIDs)
		if codec.compression == CompressZstd {
			rest.add("zstdDictionary", strconv.FormatUint(uint64(codec.dictionary.id), 10))
		}
	} else {
		filter.addAll("wantedCollections", ask.Collections)
		filter.addAll("wantedDids", ask.DIDs)
		if codec.compression == CompressZstd {
			rest.add("compress", "true")
		}
	}
	rest.add("maxMessageSizeBytes", strconv.FormatInt(maxSize, 10))
	if !r.Cursor.IsLive() {
		rest.add("cursor", strconv.FormatInt(r.Cursor.n, 10))
	}
	var h handshake
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

// optionsUpdate returns the message that replaces the whole filter of a v1 subscription.
func optionsUpdate(ask Filter, maxSize int64) []byte {
	type payload struct {
		WantedCollections   []string `json:"wantedCollections,omitempty"`
		WantedDIDs          []string `json:"wantedDids,omitempty"`
		MaxMessageSizeBytes int64    `json:"maxMessageSizeBytes"`
	}
	message, err := json.Marshal(struct {
		Type    string  `json:"type"`
		Payload payload `json:"payload"`
	}{atproto.OptionsUpdate, payload{ask.Collections, ask.DIDs, maxSize}})
	if err != nil {
		panic(err) // cannot happen: strings and a number
	}
	return message
}
