package jetstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// subscribePath is where v1 servers listen.
const subscribePath = "/subscribe"

// Endpoint is where an upstream listens. The zero Endpoint is none; ParseEndpoint makes the others. It is immutable, and prints without its
// userinfo (I10).
type Endpoint struct {
	scheme string // "ws" or "wss"
	host   string // "host:port"
	path   string
	user   *url.Userinfo
}

// ParseEndpoint reads "wss://host/path", "ws://127.0.0.1:6008" or a bare host, which means wss. The path is /subscribe when there is none. Userinfo
// is sent as basic authentication. Errors match ErrBadEndpoint and do not repeat what may be secret.
func ParseEndpoint(s string) (Endpoint, error) {
	if !strings.Contains(s, "://") {
		s = "wss://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the URL, which may hold a password
		}
		if strings.Contains(s, "@") {
			return Endpoint{}, badEndpoint("it cannot be parsed as a URL")
		}
		return Endpoint{}, badEndpoint(err.Error())
	}
	e := Endpoint{scheme: strings.ToLower(u.Scheme), path: u.EscapedPath(), user: u.User}
	if e.path == "" || e.path == "/" {
		e.path = subscribePath
	}
	port := u.Port()
	switch {
	case e.scheme != "ws" && e.scheme != "wss":
		return Endpoint{}, badEndpoint(fmt.Sprintf("its scheme is %.16q", u.Scheme))
	case u.Hostname() == "":
		return Endpoint{}, badEndpoint("it has no host")
	case !validHost(u.Hostname()):
		return Endpoint{}, badEndpoint("its host is neither a name of letters, digits, '.', '-' and '_' nor an address, with \"[]\" around it if it has colons")
	case u.RawQuery != "" || u.ForceQuery:
		return Endpoint{}, badEndpoint("it has a query, which the feed's own settings make")
	case u.Fragment != "":
		return Endpoint{}, badEndpoint("it has a fragment")
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

// validHost keeps out of the host what does not read back as it is written: zones, what is not ASCII, and colons but in an address.
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
	return fmt.Errorf(`%w: %s; want a host such as "jetstream2.us-east.bsky.network" or a URL such as "ws://127.0.0.1:6008/subscribe"`, ErrBadEndpoint, what)
}

// IsZero says whether e is no endpoint.
func (e Endpoint) IsZero() bool { return e.host == "" }

// Host is "host:port", in lower case: the instance that sequence numbers belong to (messages.Position).
func (e Endpoint) Host() string { return e.host }

// String is the endpoint as a URL, without userinfo. It can be shown and logged.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return e.scheme + "://" + e.host + e.path
}
