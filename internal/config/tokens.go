package config

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
)

// leastToken is the length of a token from which it is not called short, in characters.
const leastToken = 16

// hashPrefix begins a token that is written as its hash.
const hashPrefix = "sha256:"

// IsHash reports whether a token is only the hash of one, which cannot be sent.
func (s Secret) IsHash() bool { return strings.HasPrefix(s.Reveal(), hashPrefix) }

// tokenKey is the key of one of the listener's tokens.
type tokenKey struct {
	name, file string // of the key, and what the key with _file has
	token      *Secret
}

// at returns the key that the token comes from.
func (k *tokenKey) at() string {
	if k.file != "" {
		return k.name + "_file"
	}
	return k.name
}

func (l *loader) tokens() []tokenKey {
	return []tokenKey{{"http.token", l.draft.tokenFile, &l.draft.HTTP.Token}, {"http.read_token", l.draft.readTokenFile, &l.draft.HTTP.ReadToken}}
}

// readTokens reads the files with the tokens.
func (l *loader) readTokens() {
	for _, k := range l.tokens() {
		if k.file == "" {
			continue
		}
		name := k.name + "_file"
		secret := l.secretFile(name, k.file, "token")
		if at, both := l.lines[k.name]; both {
			l.report(max(at, l.lines[name]), name, "found "+k.name+" as well", "want one of the two")
		}
		*k.token = cmp.Or(*k.token, secret)
	}
}

// finishTokens checks the tokens against the listener.
func (l *loader) finishTokens() {
	http := l.draft.HTTP
	if (http.TLSCertFile == "") != (http.TLSKeyFile == "") {
		key := "http.tls_cert_file"
		if http.TLSCertFile == "" {
			key = "http.tls_key_file"
		}
		l.report(l.lines[key], key, "found one of tls_cert_file and tls_key_file", "want both or neither")
	}
	open := http.Listen != "" && !isLoopback(http.Listen)
	missing := true
	for _, k := range l.tokens() {
		text := k.token.Reveal()
		if text != "" || l.wrong(k.name) || l.wrong(k.name+"_file") {
			missing = false
		}
		switch hash, ok := strings.CutPrefix(text, hashPrefix); {
		case ok:
			if raw, err := hex.DecodeString(hash); err != nil || len(raw) != 32 {
				l.report(l.lines[k.at()], k.at(), `found "`+hashPrefix+`" and no hash`, "want 64 hex digits behind it, as from: printf %s TOKEN | sha256sum")
			}
		case open && text != "" && len(text) < leastToken:
			l.report(l.lines[k.at()], k.at(), fmt.Sprintf("found %d characters, and a listener that others can reach", len(text)),
				fmt.Sprintf("want %d or more, as from: openssl rand -hex 32", leastToken))
		}
	}
	if open && missing {
		l.report(l.lines["http.listen"], "http.listen", "found "+Shown(http.Listen)+", which others can reach, and no token",
			`want http.token or http.token_file, or a loopback address such as "127.0.0.1:7077"`)
	}
}

// adviseTokens warns of tokens that can be guessed.
func (l *loader) adviseTokens() {
	for _, k := range l.tokens() {
		if n := len(k.token.Reveal()); n > 0 && n < leastToken {
			l.warn(k.at(), fmt.Sprintf("found %d characters, which can be guessed", n), fmt.Sprintf("want %d or more, as from: openssl rand -hex 32", leastToken))
		}
	}
	if http := l.draft.HTTP; !http.Token.IsEmpty() && http.Token.Reveal() == http.ReadToken.Reveal() {
		l.warn("http.read_token", "found the same as http.token: it does not only read", "want another token")
	}
}
