package jetstream

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tempestd/internal/atproto"
)

// path returns the path of the protocol at an endpoint: the endpoint's own path if it has one, or
// else the path that servers use.
func (p Protocol) path(e Endpoint) string {
	switch {
	case e.path != "":
		return e.path
	case p == ProtocolV2:
		return atproto.EventsPath
	}
	return atproto.SubscribePath
}

// Endpoint is where an upstream listens. The zero Endpoint is none; ParseEndpoint makes the others.
// It is immutable, and it prints without its userinfo (I10).
type Endpoint struct {
	scheme string // "ws" or "wss"
	host   string // "host:port"
	path   string // escaped; "" if none was given
	user   *url.Userinfo
}

// ParseEndpoint reads "wss://host/path", "ws://127.0.0.1:6008" or a bare host, which means wss. An
// endpoint without a path can serve both protocols, each at its own path. Userinfo is sent as basic
// authentication. Errors match ErrBadEndpoint and do not repeat parts that may be secret.
func ParseEndpoint(s string) (Endpoint, error) {
	if !strings.Contains(s, "://") {
		if scheme, _, _ := strings.Cut(strings.ToLower(s), ":"); scheme == "ws" || scheme == "wss" {
			return Endpoint{}, badEndpoint("its scheme lacks the two slashes behind it")
		}
		s = "wss://" + s
	}
	u, err := url.Parse(s)
	if err != nil { // its text repeats parts that may be a password
		for _, what := range []string{"invalid character", "invalid port"} {
			if strings.Contains(err.Error(), what) && !strings.Contains(s, "@") {
				return Endpoint{}, badEndpoint("it has an " + what)
			}
		}
		return Endpoint{}, badEndpoint("it cannot be parsed as a URL")
	}
	e := Endpoint{scheme: strings.ToLower(u.Scheme), path: u.EscapedPath(), user: u.User}
	if e.path == "/" {
		e.path = ""
	}
	port := u.Port()
	switch {
	case e.scheme != "ws" && e.scheme != "wss":
		if e.scheme == "http" || e.scheme == "https" {
			return Endpoint{}, badEndpoint(fmt.Sprintf("its scheme is %q", e.scheme))
		}
		return Endpoint{}, badEndpoint("its scheme is neither ws nor wss")
	case u.Hostname() == "":
		return Endpoint{}, badEndpoint("it has no host")
	case !validHost(u.Hostname()):
		return Endpoint{}, badEndpoint("its host is neither a name of letters, digits, '.', '-' and '_' nor an address, with \"[]\" around it if it has colons")
	case u.RawQuery != "" || u.ForceQuery:
		return Endpoint{}, badEndpoint("it has a query, which the feed's own settings make")
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return Endpoint{}, badEndpoint("it has a fragment")
	case strings.HasSuffix(u.Host, ":"): // as in wss:/user:password@host
		return Endpoint{}, badEndpoint("its port is empty")
	// The path is really userinfo: it has one slash too few or too many before it.
	case strings.ContainsAny(u.Path, "@:\\"):
		return Endpoint{}, badEndpoint("its path has an '@', a ':' or a '\\'; a user and password stand before the host, with '%' codes for '/', '@' and ':'")
	case port == "" && e.scheme == "ws":
		port = "80"
	case port == "":
		port = "443"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Endpoint{}, badEndpoint("its port is not a number from 1 to 65535")
	}
	e.host = net.JoinHostPort(strings.ToLower(u.Hostname()), port)
	return e, nil
}

// validHost refuses a host that does not read back as it is written: one with a zone, with
// characters that are not ASCII, or with a colon outside of an address.
func validHost(host string) bool {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Zone() == ""
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
	})
}

func badEndpoint(what string) error {
	return fmt.Errorf(`%w: %s; want a host such as "jetstream.us-east.bsky.network" or a URL such as "ws://127.0.0.1:6008/subscribe"`, ErrBadEndpoint, what)
}

// IsZero says whether e is the zero Endpoint.
func (e Endpoint) IsZero() bool { return e.host == "" }

// Secure says whether the server is spoken to over TLS.
func (e Endpoint) Secure() bool { return e.scheme == "wss" }

// Host returns "host:port" in lower case. It names the instance that sequence numbers belong to
// (messages.Position).
func (e Endpoint) Host() string { return e.host }

// Protocol returns the protocol that the endpoint's path stands for: v1 for /subscribe, v2 for
// /xrpc/network.bsky.jetstream.subscribeEvents, and ProtocolAuto for no path. Any other path also
// gives ProtocolAuto: a server of either protocol may be there, and Dial uses v1 unless the request
// says v2.
func (e Endpoint) Protocol() Protocol {
	switch e.path {
	case atproto.SubscribePath:
		return ProtocolV1
	case atproto.EventsPath:
		return ProtocolV2
	}
	return ProtocolAuto
}

// url returns the URL of a path and query at the endpoint; scheme is "ws" or "http". The URL may
// contain userinfo, so it must not be shown.
func (e Endpoint) url(scheme, path, query string) string {
	u := url.URL{Scheme: scheme + strings.TrimPrefix(e.scheme, "ws"), User: e.user, Host: e.host, RawPath: path, RawQuery: query}
	u.Path, _ = url.PathUnescape(path) // cannot fail: the path came from url.Parse
	return u.String()
}

// ArchiveURL returns the URL of the server, without userinfo, as calls of its archive need it: with
// what its path has before "/xrpc".
func (e Endpoint) ArchiveURL() string {
	base := ""
	if before, _, ok := strings.Cut(e.path, "/xrpc/"); ok {
		base = before
	}
	return "http" + strings.TrimPrefix(e.scheme, "ws") + "://" + e.host + base
}

// String returns the endpoint as a URL without userinfo. It may be shown and logged.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return e.scheme + "://" + e.host + e.path
}
