package atproto_test

import (
	"regexp"
	"strings"
	"testing"

	"tempestd/internal/atproto"
)

func TestNSIDs(t *testing.T) {
	label, long := strings.Repeat("a", 63), strings.Repeat("a", 64)
	for s, want := range map[string]bool{
		"app.bsky.feed.post": true, "a.b.c": true, "fm.teal.alpha-1.actor.Status2": true, "a.0.c": true, "a.b.c1": true, "A.B.C": true,
		label + "." + label + "." + label: true, "a." + strings.Repeat(label+".", 4) + label[:59]: true,
		"": false, ".": false, "app.bsky": false, "app": false, "a..c": false, ".b.c": false, "a.b.": false, "a.b.c.": false, "app.bsky.fo*": false, "app.bsky.*": false,
		"1a.b.c": false, "a.b.1c": false, "a.b.c-d": false, "a.-b.c": false, "a.b-.c": false, "-a.b.c": false, "é.b.c": false, "a.b.c,d.e.f": false, "a.b.c\n": false,
		long + ".b.c": false, "a.b." + long: false, "a." + strings.Repeat(label+".", 4) + label[:60]: false,
	} {
		if got := atproto.IsNSID(s); got != want {
			t.Errorf("IsNSID(%.80q) of %d bytes: %v, want %v", s, len(s), got, want)
		}
	}
}

func TestPrefixesOfNSIDs(t *testing.T) {
	label := strings.Repeat("a", 63)
	for s, want := range map[string]int{
		"app.bsky": 2, "app": 1, "app.bsky.graph": 3, "a.0": 2, "a.b-c.d": 3, strings.Repeat(label+".", 4) + label[:59]: 5,
		"": 0, "*": 0, "not_an_nsid": 0, ".bsky": 0, "app.": 0, "app..bsky": 0, "1app.bsky": 0, "app.-bsky": 0, "app.bsky-": 0, strings.Repeat(label+".", 4) + label[:60]: 0,
	} {
		if got := atproto.PrefixSegments(s); got != want {
			t.Errorf("PrefixSegments(%.80q) of %d bytes: %d, want %d", s, len(s), got, want)
		}
	}
}

func TestDIDs(t *testing.T) {
	const plc = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
	for s, want := range map[string]struct{ did, network bool }{
		plc:                     {true, true},
		"did:web:example.com":   {true, true},
		"did:web:a.b%3A8080:u":  {true, true},
		"did:web:a.b%3a8:u:v_.": {true, true},
		"did:web:localhost":     {true, true},

		"did:plc:abc": {true, false}, plc + "a": {true, false}, "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ": {true, false}, "did:plc:1wvi7nxzyoun6zhxrhs64oiz": {true, false},
		"did:x:_": {true, false}, "did:key:z6Mk-a": {true, false}, "did:web:a_b.c": {true, false}, "did:web:a..b": {true, false}, "did:web:-a.b": {true, false},
		"did:web:a%3A123456": {true, false}, "did:web:a%3Ax": {true, false}, "did:web:a%3A": {true, false}, "did:web:a%20b": {true, false}, "did:web:a::b": {true, false},
		"did:web::a": {true, false}, "did:web:a:%3A-": {true, true}, "did:web:" + strings.Repeat("a", 63): {true, true}, "did:web:" + strings.Repeat("a", 64): {true, false},

		"": {}, "did": {}, "did:": {}, "did:plc": {}, "did:plc:": {}, "did::a": {}, "did:PLC:a": {}, "did:pl1:a": {}, "DID:plc:a": {}, "did:plc:a b": {}, "did:plc:é": {},
		"did:plc:a:": {}, "did:plc:a\n": {}, "did:x:" + strings.Repeat("a", 2043): {}, "did:web:": {},
		"did:x:" + strings.Repeat("a", 2042): {true, false},
		"did:plc:a%":                         {},
	} {
		if got := atproto.IsDID(s); got != want.did {
			t.Errorf("IsDID(%.80q) of %d bytes: %v, want %v", s, len(s), got, want.did)
		}
		if got := atproto.IsNetworkDID(s); got != want.network {
			t.Errorf("IsNetworkDID(%.80q) of %d bytes: %v, want %v", s, len(s), got, want.network)
		}
	}
}

func TestCursorsAreDivided(t *testing.T) {
	for n, want := range map[int64]bool{-1: false, 0: false, 999_999_999_999_999: false, 1_000_000_000_000_000: true, 1_795_328_161_356_161: true} {
		if atproto.IsTime(n) != want {
			t.Errorf("IsTime(%d): %v", n, !want)
		}
	}
}

func TestTheSyntaxAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if !atproto.IsNSID("app.bsky.feed.post") || atproto.PrefixSegments("app.bsky") != 2 || !atproto.IsNetworkDID("did:plc:ewvi7nxzyoun6zhxrhs64oiz") ||
			!atproto.IsDID("did:web:example.com%3A80:u") || !atproto.IsNetworkDID("did:web:example.com%3A80:u") {
			t.Error("a valid identifier is refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// The expressions of the specifications, as the real server compiles them.
var (
	nsid   = regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+(\.[a-zA-Z]([a-zA-Z0-9]{0,62})?)$`)
	did    = regexp.MustCompile(`^did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]$`)
	didPLC = regexp.MustCompile(`^did:plc:[a-z2-7]{24}$`)
	didWeb = regexp.MustCompile(`^did:web:[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*(%3[aA][0-9]{1,5})?(:[a-zA-Z0-9._%-]+)*$`)
)

func FuzzNSID(f *testing.F) {
	for _, s := range []string{"app.bsky.feed.post", "a.b.c", "a.0.c", "1.b.c", "a.b.c-d", "a-.b.c", "a..b", ".", "", "é.b.c", strings.Repeat("a.", 158) + "a", strings.Repeat("a.", 159) + "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := atproto.IsNSID(s), len(s) <= 317 && nsid.MatchString(s); got != want {
			t.Errorf("IsNSID(%q): %v, the specification says %v", s, got, want)
		}
	})
}

// A prefix has segments if some NSID begins with it and a dot, and at least two if the NSID may
// have one more segment.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"app.bsky", "app", "", ".", "a.0", "0", "a-", "a.b.", strings.Repeat("a.", 157) + "a", strings.Repeat("a.", 158)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := atproto.PrefixSegments(s)
		if got, want := n >= atproto.MinPrefixSegments, len(s)+2 <= 317 && nsid.MatchString(s+".x"); got != want {
			t.Errorf("PrefixSegments(%q) is %d; %q is an NSID: %v", s, n, s+".x", want)
		}
		if got, want := n >= 1, len(s)+2 <= 317 && nsid.MatchString(s+".x.x"); got != want {
			t.Errorf("PrefixSegments(%q) is %d; %q is an NSID: %v", s, n, s+".x.x", want)
		}
		if n > 0 && n != strings.Count(s, ".")+1 {
			t.Errorf("PrefixSegments(%q) is %d", s, n)
		}
	})
}

func FuzzDID(f *testing.F) {
	for _, s := range []string{"did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:web:example.com%3A80:u", "did:web:a%3a1", "did:web:a:", "did:x:%", "did:x:a:", "did:", "did::", "DID:x:a", "did:é:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := atproto.IsDID(s), len(s) <= 2048 && did.MatchString(s); got != want {
			t.Errorf("IsDID(%q): %v, the specification says %v", s, got, want)
		}
		if got, want := atproto.IsNetworkDID(s), len(s) <= 2048 && (didPLC.MatchString(s) || didWeb.MatchString(s)); got != want {
			t.Errorf("IsNetworkDID(%q): %v, the expression says %v", s, got, want)
		}
	})
}
