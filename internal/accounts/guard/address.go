package guard

import (
	"net/netip"
)

// special are the networks that are no public hosts, beside those that netip.Addr tells by itself:
// the special-purpose registries of IANA.
var special = prefixes(
	"0.0.0.0/8",       // this network
	"100.64.0.0/10",   // carrier-grade NAT
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.31.196.0/24", // AS112
	"192.52.193.0/24", // AMT
	"192.88.99.0/24",  // 6to4 relays
	"192.175.48.0/24", // AS112
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved, and broadcast
)

// public6 is the one IPv6 network of public hosts; special6 are its parts that are none.
var (
	public6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes(
		"2001::/23",     // protocol assignments, Teredo among them
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4: an IPv4 address inside
		"3fff::/20",     // documentation
		"3ffe::/16",     // the former 6bone
	)
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// public reports whether an address is of the public internet. Forms of IPv6 that carry an IPv4
// address (mapped, NAT64, 6to4, Teredo) are not: whatever they lead to has an address of its own.
func public(a netip.Addr) bool {
	if a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	excluded := special
	if a.Is6() {
		if !public6.Contains(a) {
			return false
		}
		excluded = special6
	}
	for _, p := range excluded {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
