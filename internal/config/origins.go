package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// maxOrigins bounds http.allowed_origins: each request of a page is compared with them.
const maxOrigins = 64

// originForm is scheme, "*." for all below, host and port. Small letters and nothing after the port: the form that browsers send, to which origins are compared
// byte by byte.
var originForm = regexp.MustCompile(`^(https?)://(\*\.)?(` + originLabel + `(?:\.` + originLabel + `)*|\[[0-9a-f:]+\])(?::([1-9][0-9]{0,4}))?$`)

const originLabel = `[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?`

// origin accepts what a browser may send as Origin, "*" in place of the first labels of a host, and "*" alone.
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
	// Nobody owns all that is below "org", and nothing is below an address.
	_, err := netip.ParseAddr(host)
	return !below || strings.Contains(host, ".") && err != nil
}

// once is list for values that are to be there once: a second mention is reported.
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
