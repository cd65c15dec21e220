package atproto

// Greatest lengths of identifiers, in bytes, from the specifications of the AT Protocol.
const (
	MaxNSID  = 317
	maxLabel = 63 // one segment of an NSID or of a host name
)

// leastSegments is how many segments an NSID has at least: a domain of two, and a name.
const leastSegments = 3

// IsNSID reports whether s is a namespaced identifier such as "app.bsky.feed.post": three or more
// segments of letters, digits and inner hyphens. The first segment begins with a letter. The last
// one, the name, begins with a letter and has no hyphens.
func IsNSID(s string) bool {
	n, name := segments(s)
	return len(s) <= MaxNSID && n >= leastSegments && isName(name)
}

// PrefixSegments returns the number of segments of a prefix that ends before a dot, as in the
// filter "app.bsky.*", whose prefix "app.bsky" has two. It returns 0 if no NSID begins with prefix
// and a dot. v2 servers refuse a filter whose prefix has fewer than MinPrefixSegments; v1 servers
// accept any, also one with which no NSID begins.
func PrefixSegments(prefix string) int {
	const rest = len(".x") // the shortest end of an NSID
	if n, _ := segments(prefix); len(prefix)+rest <= MaxNSID {
		return n
	}
	return 0
}

// MinPrefixSegments is the least number of segments in the prefix of a v2 filter.
const MinPrefixSegments = leastSegments - 1

// segments returns the number of segments of s and the last of them, or 0 if one is malformed.
func segments(s string) (n int, last string) {
	begin := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			continue
		}
		if last = s[begin:i]; !isLabel(last) {
			return 0, ""
		}
		n, begin = n+1, i+1
	}
	if !isLetter(s[0]) {
		return 0, ""
	}
	return n, last
}

// isLabel reports whether s is a segment of a host name: letters, digits, and hyphens inside.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// isName reports whether a segment can be the name at the end of an NSID.
func isName(label string) bool {
	for i := range len(label) {
		if label[i] == '-' {
			return false
		}
	}
	return isLetter(label[0])
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
