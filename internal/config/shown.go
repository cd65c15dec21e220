package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plainValue matches the values that an error may repeat (I10). Any value, and any word in place of
// a key, may be a secret that was written into the wrong place, or that a mistake in its quotes has
// cut in two. So an error repeats only text that looks like a value with a wrong letter or digit.
var plainValue = regexp.MustCompile(`^(` + strings.Join([]string{
	`[a-z]{0,12}`, // a word
	`[-+]?(\d{1,12}(\.\d{1,6})? ?[dhmsunµBkKMGTPib]{0,4}){1,3}`, // a number, a duration, a size
	`([a-z]{2,5}://)?[a-z0-9.-]{0,64}:\d{0,6}`,                  // host:port
	`[a-z]{2,5}://[a-z0-9.-]{1,64}/?`,                           // a URL that has no password
	`~/[a-z./_-]{0,64}`,                                         // a path in a home directory
	`[*]{1,2}`,
	`[a-z]{2,6}(\.[a-zA-Z*]{1,20}){1,5}`, // a collection
	`did:[a-z]{1,8}:[a-z0-9.%:]{1,64}`,
}, `|`) + `)$`)

// notShown replaces the text that is not repeated.
const notShown = "text that is not repeated here, as it may be a secret"

// Shown returns the text of a value for an error message: in quotes, or notShown if it may be a
// secret.
func Shown(text string) string {
	if plainValue.MatchString(text) {
		return strconv.Quote(text)
	}
	return notShown
}

// plainNumber matches text that looks like a number.
var plainNumber = regexp.MustCompile(`^[-+]?[0-9_]{1,12}(\.[0-9_]{1,12})?$`)

var (
	// plainKey matches keys such as "levle", "Backoff" and "Big Sky".
	plainKey      = regexp.MustCompile(`^[A-Z]?[a-z_.-]{1,23}( [A-Z]?[a-z_.-]{1,12})?$`)
	plainVariable = regexp.MustCompile(`^[A-Z_][A-Z_0-9]{0,63}$`)
	bareKey       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// showPath returns a path in TOML syntax, with quotes where they are necessary. It replaces a part
// that does not look like a key by "…".
func showPath(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		known := slices.ContainsFunc(keys(), func(k key) bool { return slices.Contains(k.segments(), p) })
		isFeed := i == 1 && path[0] == "feeds" && feedName.MatchString(p)
		switch {
		case !known && !isFeed && !plainKey.MatchString(p):
			parts[i] = "…"
		case bareKey.MatchString(p):
			parts[i] = p
		default:
			parts[i] = strconv.Quote(p)
		}
	}
	return strings.Join(parts, ".")
}

// showName shows an invalid name of a feed, or notShown.
func showName(name string) string {
	if plainKey.MatchString(name) {
		return strconv.Quote(name)
	}
	return notShown
}

// showVariable shows the name of an environment variable if it looks like one, else only its
// length.
func showVariable(name string) string {
	if plainVariable.MatchString(name) {
		return "the environment variable " + name
	}
	return fmt.Sprintf("the environment variable of that name (%d characters)", len(name))
}
