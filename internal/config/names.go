package config

import (
	"bufio"
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
)

// The upstreams set these bounds.
const (
	maxCollections = 10_000
	maxDIDs        = 1_000_000
	maxEndpoints   = 16
)

var feedName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

const wantFeedName = "want a name of 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"

// text returns a kind of string that ok accepts.
func text(want string, ok func(string) bool) kind[string] {
	return scalar(want, func(v value) (string, bool) {
		return v.text, v.kind == unstable.String && ok(v.text)
	}, strconv.Quote)
}

// collection accepts an NSID, or a prefix of one that ends in ".*".
func collection() kind[string] {
	return text(`want a collection such as "app.bsky.feed.post" or "app.bsky.graph.*"`, func(s string) bool {
		prefix, wildcard := strings.CutSuffix(s, ".*")
		return wildcard && atproto.PrefixSegments(prefix) > 0 || atproto.IsNSID(s)
	})
}

const wantDID = `want a DID such as "did:plc:" and 24 of a-z and 2-7, or "did:web:example.com"`

// did accepts the two DID methods that the network has.
func did() kind[string] { return text(wantDID, atproto.IsNetworkDID) }

// Endpoint is an upstream as the configuration names it.
type Endpoint struct {
	jetstream.Endpoint
	text string // as it was written, with its userinfo masked (I10)
}

// ParseEndpoint reads a websocket URL or a bare host, like [jetstream.ParseEndpoint].
func ParseEndpoint(text string) (Endpoint, error) {
	e, err := jetstream.ParseEndpoint(text)
	return Endpoint{e, withoutUserinfo(text)}, err
}

// endpoint accepts a websocket URL or a bare host. Its errors never show a password (I10).
func endpoint() kind[Endpoint] {
	const want = `want a host such as "jetstream.us-east.bsky.network" or a URL such as "wss://host/subscribe" or "ws://127.0.0.1:6008/subscribe"`
	return scalar(want, func(v value) (Endpoint, bool) {
		e, err := ParseEndpoint(v.text)
		return e, v.kind == unstable.String && err == nil
	}, func(e Endpoint) string { return strconv.Quote(e.text) })
}

var userinfo = regexp.MustCompile(`(//|^)[^/]*@`)

func withoutUserinfo(s string) string { return userinfo.ReplaceAllString(s, "${1}"+mask+"@") }

// showDID shows a line that should be a DID but is none. It does not repeat other text, because the
// file may be any file.
func showDID(line string) string {
	if strings.HasPrefix(line, "did:") {
		return Shown(line)
	}
	return "a line that is no DID"
}

// maxBadDIDs bounds the number of bad lines that are reported per file.
const maxBadDIDs = 20

// readDIDs reads a file of DIDs, one per line. It ignores empty lines and the text after a '#'.
func readDIDs(name string) (all []string, bad []problem, err error) {
	data, err := readBounded(name, maxDIDsFile)
	if err != nil {
		return nil, nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxDIDsFile)
	for line := 1; lines.Scan(); line++ {
		entry, _, _ := strings.Cut(lines.Text(), "#")
		switch entry = strings.TrimSpace(entry); {
		case entry == "":
		case atproto.IsNetworkDID(entry):
			all = append(all, entry)
		case len(bad) < maxBadDIDs:
			bad = append(bad, problem{file: name, line: line, found: "found " + showDID(entry), want: wantDID + ", one a line"})
		}
	}
	return all, bad, lines.Err()
}
