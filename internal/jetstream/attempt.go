package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"tempestd/internal/atproto"
)

// codec is the compression that was chosen.
type codec struct {
	compression Compression // not CompressAuto
	dictionary  *dictionary // for zstd
}

// attempt is one way to speak to a server.
type attempt struct {
	protocol Protocol
	open     bool // v1 may be tried if the server has no v2
	codec    codec
	renewed  bool // the dictionary was fetched again: the server did not know the previous one
	short    bool // the filter's DIDs make the URL too long for the server

	v1Why, plainWhy, shortWhy string // why the attempt is not the preferred one
}

// fallback says why the attempt is not the preferred one, "" if it is.
func (a attempt) fallback() string { return join(a.v1Why, a.plainWhy, a.shortWhy) }

func join(reasons ...string) string {
	var said []string
	for _, r := range reasons {
		if r != "" {
			said = append(said, r)
		}
	}
	return strings.Join(said, "; ")
}

// dial makes attempts until one succeeds or a failure leaves no other way to try.
func (d *dialer) dial(ctx context.Context) (*Conn, error) {
	a, err := d.first(ctx)
	if err != nil {
		return nil, err
	}
	for {
		conn, err := d.try(ctx, a)
		if err == nil {
			if a.open && a.protocol == ProtocolV1 {
				d.memory.hasNoV2(d.req.Endpoint, a.v1Why)
			}
			return conn, nil
		}
		next, ok := d.next(ctx, a, err)
		if !ok {
			return nil, err
		}
		if a = next; d.legacySeq(a) {
			return nil, fmt.Errorf("%w: %s", ErrLegacySeq, d.req.Endpoint)
		}
	}
}

// first returns the attempt to begin with.
func (d *dialer) first(ctx context.Context) (attempt, error) {
	e, asked := d.req.Endpoint, d.req.Protocol
	pinned, known := e.Protocol(), d.memory.about(e)
	a := attempt{protocol: ProtocolV1}
	switch {
	case asked != ProtocolAuto && pinned != ProtocolAuto && asked != pinned:
		return a, fmt.Errorf("%w: protocol %s at %s, which is %s's path", ErrBadRequest, asked, e, pinned)
	case asked != ProtocolAuto:
		a.protocol = asked
	case pinned != ProtocolAuto:
		a.protocol = pinned
	case e.path != "" || d.memory == nil:
	case known.v1.why != "":
		a.v1Why = known.v1.why
		if d.legacySeq(a) {
			return a, fmt.Errorf("%w: %s", ErrLegacySeq, e)
		}
	default:
		a.protocol, a.open = ProtocolV2, true
	}
	if known.short.why != "" {
		a.short, a.shortWhy = true, known.short.why
	}
	a.codec, a.plainWhy = d.chooseCodec(ctx, a.protocol, 0)
	return a, nil
}

// legacySeq says whether the attempt would send a sequence number to what seems to be a legacy
// server: v1 was a fallback and not a choice, and the endpoint never gave sequence numbers.
func (d *dialer) legacySeq(a attempt) bool {
	_, _, bySeq := d.req.Cursor.Sequence()
	return bySeq && a.v1Why != "" && !d.memory.about(d.req.Endpoint).sequenced
}

// next returns the attempt to make after a failed one, if there is any. Each attempt gives
// something up, so the number of attempts is bounded.
func (d *dialer) next(ctx context.Context, a attempt, err error) (attempt, bool) {
	refusal, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return a, false
	}
	switch {
	case a.protocol == ProtocolV2 && a.open && refusal.noSuchThing():
		a.protocol, a.v1Why = ProtocolV1, fmt.Sprintf("no v2: the server answers with %d %s", refusal.Status, http.StatusText(refusal.Status))
		a.codec, a.plainWhy = d.chooseCodec(ctx, a.protocol, 0)
	case a.codec.compression == CompressZstd && refusal.Name == atproto.UnknownDictionary && !a.renewed:
		a.renewed = true
		a.codec, a.plainWhy = d.chooseCodec(ctx, a.protocol, a.codec.dictionary.id)
	case a.codec.compression == CompressZstd && refusal.Name == atproto.UnknownDictionary:
		a.codec, a.plainWhy = codec{compression: CompressOff}, "not compressed: the server does not know the dictionary it gives out"
		d.memory.cannotCompress(d.req.Endpoint, a.plainWhy)
	case refusal.tooLong() && !a.short && len(d.req.Filter.DIDs) > 0:
		a.short, a.shortWhy = true, fmt.Sprintf("filtered here: the server answers long URLs with %d %s", refusal.Status, http.StatusText(refusal.Status))
		d.memory.wantsShortURLs(d.req.Endpoint, a.shortWhy)
	default:
		return a, false
	}
	return a, true
}

// chooseCodec chooses the compression, and says why it is not the one that was asked for. stale is
// the ID of a dictionary that the server does not know (any more).
func (d *dialer) chooseCodec(ctx context.Context, p Protocol, stale uint32) (codec, string) {
	e, asked := d.req.Endpoint, d.req.Compress
	off := codec{compression: CompressOff}
	automatic := asked == CompressAuto
	switch {
	case asked == CompressOff, automatic && (d.memory == nil || e.scheme == "ws" || e.isLoopback()):
		return off, ""
	case asked == CompressDeflate && p == ProtocolV2:
		return off, "not compressed: v2 servers do not deflate"
	}
	if known := d.memory.about(e); known.plain.why != "" {
		return off, known.plain.why
	}
	if asked == CompressDeflate {
		return codec{compression: CompressDeflate}, ""
	}
	var dict *dictionary
	var err error
	switch {
	case p == ProtocolV2:
		dict, err = d.dictionary(ctx, stale)
	case len(d.opt.V1Dictionary) > 0:
		dict, err = parseDictionary(d.opt.V1Dictionary)
	case automatic:
		return off, ""
	default:
		err = errors.New("v1 needs a zstd dictionary, and none is configured")
	}
	if err != nil {
		return off, printable("not compressed: " + err.Error())
	}
	return codec{compression: CompressZstd, dictionary: dict}, ""
}

// isLoopback says whether the endpoint is on this machine, judged by its name or address alone.
func (e Endpoint) isLoopback() bool {
	name, _, err := net.SplitHostPort(e.host)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && addr.IsLoopback()
}
