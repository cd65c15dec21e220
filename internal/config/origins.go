package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// maxOrigins bounds http.allowed_origins, because each request from a page is compared with all of
// them.
const maxOrigins = 64

// originForm is the scheme, "*." for all hosts below, the host and the port. It has lower-case
// letters and nothing after the port. Browsers send this form, and origins are compared byte by
// byte.
var originForm = regexp.MustCompile(`^(https?)://(\*\.)?(` + originLabel + `(?:\.` + originLabel + `)*|\[[0-9a-f:]+\])(?::([1-9][0-9]{0,4}))?$`)

const originLabel = `[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?`

// origin accepts an origin that a browser may send, with or without "*" in place of the first
// labels of the host, and "*" alone.
func origin() kind[string] {
	return text(`want an origin as browsers send it, such as "https://app.example" or "http://localhost:5173": http or https, the host in small letters, `+
		`the port unless it is the scheme's own, no path and no slash at the end; or "https://*.example.org" for all below example.org, or "*" for any`, isOrigin)
}

func isOrigin(s string) bool {
	const longestHost = 253
	if s == "*" {
		return true
	}
	part := originForm.FindStringSubmatch(s)
	if part == nil || len(part[3]) > longestHost {
		return false
	}
	scheme, below, host, port := part[1], part[2] != "", part[3], part[4]
	if port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || port == map[string]string{"http": "80", "https": "443"}[scheme] {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && addr.String()+"]" == inner && !below
	}
	// The hosts below "org" have no common owner, and there are no hosts below an IP address.
	_, err := netip.ParseAddr(host)
	return !below || strings.Contains(host, ".") && err != nil
}

// hostForm is a host name in small letters, or all names below one.
var hostForm = regexp.MustCompile(`^(?:\*\.` + originLabel + `\.)?` + originLabel + `(?:\.` + originLabel + `)*$`)

// host accepts a host name or an IP address without a port, or "*." and a name of two labels or more.
func host() kind[string] {
	const longest = 253
	return text(`want a host name in small letters without a port, such as "feeds.example.org", "*.example.org" for all below, or an IP address`, func(s string) bool {
		if addr, err := netip.ParseAddr(s); err == nil {
			return addr.String() == s && addr.Zone() == ""
		}
		return len(s) <= longest && hostForm.MatchString(s)
	})
}

// network accepts an IP address or a network of addresses.
func network() kind[netip.Prefix] {
	return scalar(`want an IP address such as "127.0.0.1", or a network such as "10.0.0.0/8"`, func(v value) (netip.Prefix, bool) {
		if addr, err := netip.ParseAddr(v.text); err == nil {
			addr = addr.Unmap()
			return netip.PrefixFrom(addr, addr.BitLen()), v.kind == unstable.String && addr.Zone() == ""
		}
		prefix, err := netip.ParsePrefix(v.text)
		return prefix, v.kind == unstable.String && err == nil && prefix == prefix.Masked()
	}, func(p netip.Prefix) string {
		if p.IsSingleIP() {
			return strconv.Quote(p.Addr().String())
		}
		return strconv.Quote(p.String())
	})
}

// once is list without repeats. It reports a repeated value as an error.
func once(of kind[[]string]) kind[[]string] {
	parse := of.parse
	of.parse = func(s *source, v value) ([]string, []problem) {
		all, bad := parse(s, v)
		if bad != nil {
			return all, bad
		}
		first := make(map[string]bool, len(all))
		for i, given := range all {
			if first[given] {
				bad = append(bad, problem{line: v.items[i].line, found: "found " + v.items[i].String() + " a second time", want: "want each value once"})
			}
			first[given] = true
		}
		return all, bad
	}
	return of
}
