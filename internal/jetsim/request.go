package jetsim

import (
	"fmt"
	"net/http"

	"tempestd/internal/subscribe"
)

// Protocol is a protocol that Jetstream servers speak.
type Protocol string

// The protocols. Where the choice may be open, "" means either.
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

// includes reports whether p allows q. An empty p allows both.
func (p Protocol) includes(q Protocol) bool { return p == "" || p == q }

// version is p as the package subscribe names it.
func (p Protocol) version() subscribe.Version {
	if p == ProtocolV2 {
		return subscribe.V2
	}
	return subscribe.V1
}

// request is what a subscriber asks for, and the encoding of its messages.
type request struct {
	subscribe.Request
	zstd      *dictionary // nil for none
	deflate   *deflateParams
	extension string // the negotiated extension
}

// parseRequest parses a subscriber's request. It returns a refusal when the request is invalid.
func (s *Sim) parseRequest(r *http.Request, p Protocol) (req request, refusal *subscribe.Refusal) {
	req.Request, refusal = subscribe.Parse(r, p.version(), func(id uint32) *subscribe.Refusal {
		var err error
		if p == ProtocolV1 {
			req.zstd, err = s.dicts.forV1()
		} else {
			req.zstd, err = s.dicts.forV2()
		}
		if err != nil {
			return subscribe.Unavailable(err.Error())
		}
		if p == ProtocolV2 && req.zstd.id != id {
			return subscribe.UnknownDictionary(id, req.zstd.id)
		}
		return nil
	})
	if refusal != nil || p == ProtocolV2 || req.Zstd || s.opt.Legacy {
		return req, refusal
	}
	if params, answer, ok := acceptDeflate(r.Header.Values("Sec-WebSocket-Extensions")); ok {
		req.deflate, req.extension = &params, answer
	}
	return req, nil
}

// codec returns the codec of a connection, or nil for plain text.
func (req *request) codec() codec {
	switch {
	case req.zstd != nil:
		return &zstdCodec{dict: req.zstd}
	case req.deflate != nil:
		return newDeflateCodec(*req.deflate)
	}
	return nil
}

// wire names the negotiated protocol and encoding, for Stats.
func (req *request) wire() string {
	switch {
	case req.zstd != nil:
		return req.Version.String() + "+zstd"
	case req.deflate != nil:
		return req.Version.String() + "+deflate"
	}
	return req.Version.String()
}
