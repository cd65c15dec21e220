package atproto

import "strings"

// MaxDID is the greatest length of a DID, in bytes.
const MaxDID = 2048

// IsDID reports whether s is a decentralized identifier, as Jetstream servers check it: "did:", a
// method of lower-case letters, ":", and an identifier that does not end in ':' or '%'.
func IsDID(s string) bool {
	rest, ok := strings.CutPrefix(s, "did:")
	method, id, found := strings.Cut(rest, ":")
	if !ok || !found || len(s) > MaxDID || method == "" || id == "" {
		return false
	}
	for i := range len(method) {
		if method[i] < 'a' || method[i] > 'z' {
			return false
		}
	}
	for i := range len(id) {
		if !isIDChar(id[i]) && id[i] != ':' {
			return false
		}
	}
	end := id[len(id)-1]
	return end != ':' && end != '%'
}

// IsNetworkDID reports whether s is a DID of a method that the network has: "did:plc:" and 24
// characters of base32, or "did:web:" and a host name, with an optional port and path. Servers
// accept other DIDs as well and send nothing for them, so such a DID is a mistake of the one who
// wrote it.
func IsNetworkDID(s string) bool {
	if len(s) > MaxDID {
		return false
	}
	if id, ok := strings.CutPrefix(s, "did:plc:"); ok {
		return isPLC(id)
	}
	id, ok := strings.CutPrefix(s, "did:web:")
	return ok && isWeb(id)
}

// isPLC reports whether id has 24 characters of base32.
func isPLC(id string) bool {
	const length = 24
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(id) == length
}

// isWeb reports whether id is a host name, then a port behind "%3A" if any, then segments of a path
// with a ':' before each.
func isWeb(id string) bool {
	place, path, more := strings.Cut(id, ":")
	for more {
		var segment string
		if segment, path, more = strings.Cut(path, ":"); !isPathSegment(segment) {
			return false
		}
	}
	host := place
	if i := strings.IndexByte(place, '%'); i >= 0 {
		host = place[:i]
		if !isPort(place[i:]) {
			return false
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isPort reports whether s is an encoded colon and a number of one to five digits.
func isPort(s string) bool {
	const colon = "%3A"
	if len(s) <= len(colon) || len(s) > len(colon)+5 || !strings.EqualFold(s[:len(colon)], colon) {
		return false
	}
	for _, c := range []byte(s[len(colon):]) {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

func isPathSegment(s string) bool {
	for i := range len(s) {
		if !isIDChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// isIDChar reports whether c may stand in the identifier of a DID, between its colons.
func isIDChar(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '.' || c == '_' || c == '-' || c == '%'
}
