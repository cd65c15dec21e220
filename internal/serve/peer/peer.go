// Package peer says which client a request comes from: the address by which a server counts tails,
// memory, connections and refused tokens.
//
// The model: a client is the address of the connection, for IPv6 its /64 network, because one host
// has all addresses of it. Behind a reverse proxy all clients would be one. Where the connection is
// a trusted proxy's, the client is the last address in X-Forwarded-For that is no trusted proxy's:
// each proxy appends the address that it was called from, so what stands before that is the client's
// own word. The token does not tell clients apart: it is one for all.
package peer

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Peers knows the trusted proxies. It is immutable and safe for concurrent use. The zero Peers
// trusts none.
type Peers struct{ trusted []netip.Prefix }

// New returns Peers that trust proxies with these addresses.
func New(trusted []netip.Prefix) *Peers { return &Peers{trusted} }

// Of returns the client of a request. Connections that are not of an IP network, as those of a Unix
// socket, are one client.
func (p *Peers) Of(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return network(p.behind(remote.Addr().Unmap().WithZone(""), r.Header))
}

// behind returns the address that the proxies forward for, or addr itself if it is no trusted
// proxy's.
func (p *Peers) behind(addr netip.Addr, header http.Header) netip.Addr {
	if !p.Trusts(addr) {
		return addr
	}
	lines := header.Values("X-Forwarded-For")
	for _, line := range slices.Backward(lines) {
		for line != "" {
			at := strings.LastIndexByte(line, ',')
			next, ok := forwarded(strings.TrimSpace(line[at+1:]))
			if !ok {
				return addr // a proxy wrote something else: what stands before it cannot be trusted
			}
			if addr = next; !p.Trusts(addr) {
				return addr
			}
			line = line[:max(at, 0)]
		}
	}
	return addr
}

// forwarded reads an address as proxies write it: some add the port.
func forwarded(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// Trusts reports whether the address is a trusted proxy's.
func (p *Peers) Trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.trusted, func(t netip.Prefix) bool { return t.Contains(addr) })
}

// OfConn returns the client of a connection, and whether it is a trusted proxy, whose connections
// are those of many clients.
func (p *Peers) OfConn(remote net.Addr) (client netip.Addr, proxy bool) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	return network(addr), p.Trusts(addr)
}

// network returns the address that counts.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if net, err := addr.Prefix(64); err == nil {
			return net.Addr()
		}
	}
	return addr
}
