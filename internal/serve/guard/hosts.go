package guard

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hosts are the names, besides those of this machine itself, under which a loopback listener
// answers: "feeds.example.org", or "*.example.org" for all below. They are those of a reverse proxy.
type hosts []string

// has reports whether a Host header has an allowed name, or names this machine.
func (h hosts) has(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if isLoopbackName(host) {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	for _, allowed := range h {
		below, ok := strings.CutPrefix(allowed, "*")
		if host == allowed || ok && len(host) > len(below) && strings.HasSuffix(host, below) {
			return true
		}
	}
	return false
}

// String lists them for an error.
func (h hosts) String() string {
	if len(h) == 0 {
		return "nothing yet"
	}
	return strings.Join(h, ", ")
}

// isLoopbackName reports whether a name is "localhost" or a loopback address. No DNS server can
// redirect these.
func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// listenerKey is the key of what a listener is in the context of its requests.
type listenerKey struct{}

// On returns the context of the requests of a listener at that address.
func On(ctx context.Context, listener net.Addr) context.Context {
	return context.WithValue(ctx, listenerKey{}, listener)
}

// onSocket reports whether a request came by a Unix socket.
func onSocket(r *http.Request) bool {
	_, ok := r.Context().Value(listenerKey{}).(*net.UnixAddr)
	return ok
}

// onLoopback reports whether only this machine reaches the listener of a request. The address that a
// connection came to does not say it: a listener on every address is reached at 127.0.0.1 too, and
// has a token.
func onLoopback(r *http.Request) bool {
	tcp, ok := r.Context().Value(listenerKey{}).(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
