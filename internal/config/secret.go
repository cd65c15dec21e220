package config

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// mask is shown in place of a secret.
const mask = "***"

// Secret is a string that is never shown: every way to print, log or encode it gives "***", or ""
// if it is empty (I10). The zero Secret is empty.
//
// The text is behind a pointer because fmt cannot call the methods of an unexported field. A plain
// string type would print its text as a field of another struct.
type Secret struct{ text *string }

// Secrets returns the texts of all secrets of the configuration, the longest first, for whoever has
// to leave them out.
func (c *Config) Secrets() (all []string) {
	secrets := []Secret{c.HTTP.Token, c.HTTP.ReadToken, c.Valkey.Password, c.Valkey.SentinelPassword}
	for i := range c.Feeds {
		secrets = append(secrets, c.Feeds[i].Account.Password)
		for _, key := range c.Feeds[i].Repair.ArchiveKeys {
			secrets = append(secrets, key)
		}
	}
	for _, s := range secrets {
		if !s.IsEmpty() {
			all = append(all, s.Reveal())
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// NewSecret returns the Secret that holds text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text of the secret.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsEmpty reports whether the secret is empty.
func (s Secret) IsEmpty() bool { return s.text == nil }

// String returns "***", or "" if the secret is empty. The other methods below give the same text.
func (s Secret) String() string {
	if s.IsEmpty() {
		return ""
	}
	return mask
}

// GoString returns the same text as String.
func (s Secret) GoString() string { return s.String() }

// Format writes the text of String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns the text of String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns the text of String in quotes.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue returns the text of String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
