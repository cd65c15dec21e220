package subscribe

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tempestd/internal/atproto"
)

// Request is what a subscriber asks for.
type Request struct {
	Version     Version
	Filter      Filter
	Cursor      Cursor
	Hello       bool   // v1: send nothing before an options_update
	Zstd        bool   // compress messages with zstd
	Subprotocol string // v2: the one to agree to, "" for none
}

// Parse reads a subscriber's request, in the order in which a server checks it. If the request asks
// for zstd, Parse calls zstd, which returns a refusal if that is not possible. id is the dictionary
// that a v2 client names, and 0 for the only one that v1 has.
func Parse(r *http.Request, v Version, zstd func(id uint32) *Refusal) (req Request, refusal *Refusal) {
	req.Version = v
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, Invalid("%v", err)
	}
	if v == V2 {
		refusal = req.parseV2(r, q, zstd)
	} else {
		refusal = req.parseV1(r, q, zstd)
	}
	if refusal != nil {
		return req, refusal
	}
	if req.Cursor, err = ParseCursor(q); err != nil {
		return req, Invalid("%v", err)
	}
	return req, nil
}

func (req *Request) parseV1(r *http.Request, q url.Values, zstd func(uint32) *Refusal) *Refusal {
	req.Zstd = q.Get("compress") == "true" || strings.Contains(r.Header.Get("Socket-Encoding"), "zstd")
	if req.Zstd && slices.ContainsFunc(r.Header.Values("Sec-WebSocket-Extensions"), func(o string) bool { return strings.Contains(o, "permessage-deflate") }) {
		return Invalid("choose one compression scheme: custom zstd (compress=true / Socket-Encoding: zstd) or RFC 7692 permessage-deflate, not both")
	}
	var err error
	if req.Filter, err = ParseFilterV1(q); err != nil {
		return Invalid("%v", err)
	}
	req.Hello = q.Get("requireHello") == "true"
	if req.Zstd {
		return zstd(0)
	}
	return nil
}

func (req *Request) parseV2(r *http.Request, q url.Values, zstd func(uint32) *Refusal) *Refusal {
	if q.Get("compress") == "true" || strings.Contains(r.Header.Get("Socket-Encoding"), "zstd") {
		return Invalid("compress=true / Socket-Encoding: zstd is the /subscribe (v1) opt-in; this endpoint uses zstdDictionary=<id> with the dictionary from getZstdDictionary")
	}
	if text := q.Get("zstdDictionary"); text != "" {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id == 0 {
			return Invalid("zstdDictionary must be a positive integer zstd dictionary ID")
		}
		if refusal := zstd(uint32(id)); refusal != nil {
			return refusal
		}
		req.Zstd = true
	}
	var err error
	if req.Filter, err = ParseFilterV2(q); err != nil {
		return Invalid("%v", err)
	}
	if slices.Contains(Subprotocols(r), atproto.Subprotocol) {
		req.Subprotocol = atproto.Subprotocol
	}
	return nil
}

// Subprotocols returns the websocket subprotocols that a client offers, in the client's order.
func Subprotocols(r *http.Request) (offered []string) {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for token := range strings.SplitSeq(line, ",") {
			offered = append(offered, strings.TrimSpace(token))
		}
	}
	return offered
}
