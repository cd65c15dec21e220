package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// These bound the size of the files that a configuration names.
const (
	maxTokenFile  = 64 * kib
	maxDictionary = 4 * mib
	maxDIDsFile   = 64 * mib // a million DIDs, and comments
)

var variable = regexp.MustCompile(`\$\{([^}]*)\}?`)

// expand replaces ${NAME} and ${NAME:-default} by values from the environment. A variable that is
// set but empty counts as unset, as in the shell.
func (s *source) expand(text string) (string, error) {
	var wrong error
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		inner, closed := strings.CutSuffix(m[2:], "}")
		name, fallback, hasFallback := strings.Cut(inner, ":-")
		if !closed || !variableName.MatchString(name) {
			wrong = fmt.Errorf("found %s that names no environment variable", `"${"`)
			return ""
		}
		if set, _ := s.env(name); set != "" {
			return set
		}
		if !hasFallback {
			wrong = &unsetError{name}
		}
		return fallback
	})
	return out, wrong
}

// unsetError says that a variable is not set.
type unsetError struct{ name string }

func (e *unsetError) Error() string { return showVariable(e.name) + " is not set" }

// credentials is the variable with the directory of a unit's credentials. Only the processes of the
// unit have it.
const credentials = "CREDENTIALS_DIRECTORY"

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const wantVariable = "want ${NAME} of a variable that is set, or ${NAME:-default}"

// expandAll replaces the variables in a value and in its items.
func (s *source) expandAll(v value) (value, []problem) {
	var bad []problem
	if v.kind == unstable.Array && slices.ContainsFunc(v.items, value.hasVariable) {
		v.items = slices.Clone(v.items)
		for i := range v.items {
			item, wrong := s.expandAll(v.items[i])
			v.items[i], bad = item, append(bad, wrong...)
		}
	}
	if !v.hasVariable() {
		return v, bad
	}
	text, err := s.expand(v.text)
	if err != nil {
		unset := ""
		if e, ok := errors.AsType[*unsetError](err); ok {
			unset = e.name
		}
		return v, []problem{{line: v.line, found: err.Error(), want: wantVariable, unset: unset}}
	}
	v.text, v.written = text, v.text
	return v, nil
}

// hasVariable says whether a string has a variable to replace.
func (v value) hasVariable() bool { return v.kind == unstable.String && strings.Contains(v.text, "${") }

// path accepts a file or directory name with variables. The result is absolute, or relative to the
// working directory. A relative path in the file starts at the file's directory.
func path() kind[string] {
	const want = "want a path in quotes; ${NAME} and ${NAME:-default} come from the environment, what is relative starts at this file"
	parse := func(s *source, v value) (string, []problem) {
		if v.kind != unstable.String || strings.ContainsRune(v.text, 0) {
			return "", []problem{{line: v.line, found: "found " + v.String(), want: want}}
		}
		switch expanded := v.text; {
		case expanded == "":
			return "", nil
		case expanded[0] == '~':
			return "", []problem{{line: v.line, found: "found " + v.String(), want: "want ${HOME} in place of ~"}}
		case filepath.IsAbs(expanded):
			return filepath.Clean(expanded), nil
		}
		return filepath.Join(s.dir, v.text), nil
	}
	return kind[string]{want: want, parse: parse, show: strconv.Quote}
}

// secret accepts a string with variables. Its errors never show the value (I10).
func secret() kind[Secret] {
	const want = "want a string of printable ASCII without spaces; ${NAME} and ${NAME:-default} come from the environment"
	parse := func(_ *source, v value) (Secret, []problem) {
		if v.kind != unstable.String {
			return Secret{}, []problem{{line: v.line, found: "found something that is not a string", want: want}}
		}
		if !isToken(v.text) {
			return Secret{}, []problem{{line: v.line, found: "found a character that cannot stand in an HTTP header", want: want}}
		}
		return NewSecret(v.text), nil
	}
	return kind[Secret]{want: want, secret: true, parse: parse, show: func(s Secret) string { return strconv.Quote(s.String()) }}
}

// isToken reports whether s can be sent as a bearer token.
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// ReadToken reads a secret from a file: its text without surrounding white space. An empty file is
// an error.
func ReadToken(name string) (Secret, error) {
	data, err := readBounded(name, maxTokenFile)
	if err != nil {
		return Secret{}, err
	}
	text := string(bytes.TrimSpace(data))
	switch {
	case text == "":
		return Secret{}, fmt.Errorf("%s is empty", name)
	case !isToken(text):
		return Secret{}, fmt.Errorf("%s has a character that cannot stand in an HTTP header", name)
	}
	return NewSecret(text), nil
}

// readBounded reads a file. A file that is longer than most bytes is an error.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return data, nil
}

// listen accepts "host:port", or "" for no listener.
func listen() kind[string] {
	return scalar(`want "host:port" such as "127.0.0.1:7077" or "[::1]:7077", or "" for no listener`, func(v value) (string, bool) {
		if v.kind != unstable.String {
			return "", false
		}
		if v.text == "" {
			return "", true
		}
		host, port, err := net.SplitHostPort(v.text)
		if err != nil || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			return "", false
		}
		_, err = strconv.ParseUint(port, 10, 16)
		return v.text, err == nil
	}, strconv.Quote)
}

// isLoopback reports whether only this machine can reach a listener at addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
