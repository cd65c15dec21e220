package config

import (
	"fmt"
	"io"
	"log/slog"
)

// mask is what a secret shows of itself.
const mask = "***"

// Secret is a string that never shows: every way to print, log or encode it gives "***", or nothing when it is empty (I10). The zero Secret
// is empty.
//
// The text hangs on a pointer because fmt cannot call the methods of an unexported field: a plain string type would print itself
// from inside somebody's struct.
type Secret struct{ text *string }

// NewSecret wraps text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal is the secret itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsEmpty says whether there is no secret.
func (s Secret) IsEmpty() bool { return s.text == nil }

// String is "***", or "" when the secret is empty. So are all the others below.
func (s Secret) String() string {
	if s.IsEmpty() {
		return ""
	}
	return mask
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format is String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String, quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
