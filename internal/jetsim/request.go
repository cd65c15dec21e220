package jetsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Protocol is a protocol that Jetstream servers speak.
type Protocol string

// The protocols. Where one may be left open, the empty one means either.
const (
	ProtocolV1 Protocol = "v1" // /subscribe
	ProtocolV2 Protocol = "v2" // /xrpc/network.bsky.jetstream.subscribeEvents
)

func (p Protocol) validate() error {
	if p != "" && p != ProtocolV1 && p != ProtocolV2 {
		return fmt.Errorf("protocol %q; v1, v2 or, for both, none is accepted", string(p))
	}
	return nil
}

// includes says whether p, which may be left open, allows q.
func (p Protocol) includes(q Protocol) bool { return p == "" || p == q }

const (
	pathV1         = "/subscribe"
	pathV2         = "/xrpc/network.bsky.jetstream.subscribeEvents"
	pathDictionary = "/xrpc/network.bsky.jetstream.getZstdDictionary"
	subprotocolV2  = "xrpc.v1.json"
)

// refusal is the answer to a request before the upgrade.
type refusal struct {
	status  int
	name    string // of the error, for v2
	message string
}

func invalid(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "InvalidRequest", fmt.Sprintf(format, args...)}
}

func unavailable(message string) *refusal {
	return &refusal{http.StatusServiceUnavailable, "ServiceUnavailable", message}
}

// answer writes the refusal as the protocol does: a line of text, or JSON.
func (f *refusal) answer(w http.ResponseWriter, p Protocol) {
	if p == ProtocolV1 {
		http.Error(w, f.message, f.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(errorJSON("", f.name, f.message)) // the client may have gone
}

// errorJSON is an error of v2; kind is the $type of an error frame.
func errorJSON(kind, name, message string) []byte {
	b, _ := json.Marshal(struct { // strings always marshal
		Type    string `json:"$type,omitempty"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}{kind, name, message})
	return b
}

// request is what a subscriber asks for.
type request struct {
	protocol    Protocol
	filter      filter
	cursor      cursor
	hello       bool        // nothing is to be sent before an options_update
	zstd        *dictionary // messages are to be compressed with it
	deflate     *deflateParams
	extension   string // agreed on
	subprotocol string
}

// parseRequest reads what a subscriber asks for, in the order a server looks at it (PROTOCOL.md, 4 and 5).
func (s *Sim) parseRequest(r *http.Request, p Protocol) (req request, ref *refusal) {
	req.protocol = p
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, invalid("%v", err)
	}
	if p == ProtocolV2 {
		ref = s.parseV2(&req, r, q)
	} else {
		ref = s.parseV1(&req, r, q)
	}
	if ref != nil {
		return req, ref
	}
	if req.cursor, err = parseCursor(q); err != nil {
		return req, invalid("%v", err)
	}
	return req, nil
}

func (s *Sim) parseV1(req *request, r *http.Request, q url.Values) *refusal {
	wantsZstd := q.Get("compress") == "true" || strings.Contains(r.Header.Get("Socket-Encoding"), "zstd")
	offers := r.Header.Values("Sec-WebSocket-Extensions")
	if wantsZstd && slices.ContainsFunc(offers, func(o string) bool { return strings.Contains(o, "permessage-deflate") }) {
		return invalid("choose one compression scheme: custom zstd (compress=true / Socket-Encoding: zstd) or RFC 7692 permessage-deflate, not both")
	}
	var err error
	if req.filter, err = parseFilterV1(q); err != nil {
		return invalid("%v", err)
	}
	req.hello = q.Get("requireHello") == "true"
	if wantsZstd {
		if req.zstd, err = s.dicts.forV1(); err != nil {
			return unavailable(err.Error())
		}
	} else if p, answer, ok := acceptDeflate(offers); ok && !s.opt.Legacy {
		req.deflate, req.extension = &p, answer
	}
	return nil
}

func (s *Sim) parseV2(req *request, r *http.Request, q url.Values) *refusal {
	if q.Get("compress") == "true" || strings.Contains(r.Header.Get("Socket-Encoding"), "zstd") {
		return invalid("compress=true / Socket-Encoding: zstd is the /subscribe (v1) opt-in; this endpoint uses zstdDictionary=<id> with the dictionary from getZstdDictionary")
	}
	if text := q.Get("zstdDictionary"); text != "" {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || id == 0 {
			return invalid("zstdDictionary must be a positive integer zstd dictionary ID")
		}
		if req.zstd, err = s.dicts.forV2(); err != nil {
			return unavailable(err.Error())
		}
		if current := req.zstd.id; uint32(id) != current {
			return &refusal{http.StatusBadRequest, "UnknownZstdDictionary",
				fmt.Sprintf("unknown zstd dictionary id %d; current dictionary id is %d (fetch it via getZstdDictionary and reconnect)", id, current)}
		}
	}
	var err error
	if req.filter, err = parseFilterV2(q); err != nil {
		return invalid("%v", err)
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for token := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(token) == subprotocolV2 {
				req.subprotocol = subprotocolV2
			}
		}
	}
	return nil
}

// codec is the codec of a connection, nil for plain text.
func (req *request) codec() codec {
	switch {
	case req.zstd != nil:
		return &zstdCodec{dict: req.zstd}
	case req.deflate != nil:
		return newDeflateCodec(*req.deflate)
	}
	return nil
}

// wire names what was negotiated, for Stats.
func (req *request) wire() string {
	switch {
	case req.zstd != nil:
		return string(req.protocol) + "+zstd"
	case req.deflate != nil:
		return string(req.protocol) + "+deflate"
	}
	return string(req.protocol)
}

// The endings of a connection that a subscriber's own message brings about.
var (
	errBadEnvelope = errors.New("bad SubscriberSourcedMessage envelope")
	errBadPayload  = errors.New("bad options_update payload")
)

// parseUpdate reads a subscriber's message. update is false for a message of a type that servers ignore.
func parseUpdate(text []byte) (f filter, update bool, err error) {
	var message struct {
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(text, &message) != nil {
		return filter{}, false, errBadEnvelope
	}
	if message.Type != "options_update" {
		return filter{}, false, nil
	}
	var options struct {
		WantedCollections   []string `json:"wantedCollections"`
		WantedDIDs          []string `json:"wantedDids"`
		MaxMessageSizeBytes int      `json:"maxMessageSizeBytes"`
	}
	if json.Unmarshal(message.Payload, &options) != nil {
		return filter{}, false, errBadPayload
	}
	f, err = newFilterV1(options.WantedCollections, options.WantedDIDs)
	f.maxBytes = max(0, options.MaxMessageSizeBytes)
	return f, err == nil, err
}
