package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What an error may repeat of a configuration (I10). Any value, and any word where a key belongs, may be a secret that was written into the wrong place, or cut in
// two by a mistake in its quotes. So what is repeated is what has the look of a value that is wrong by a letter or a digit, and nothing else.
var plainValue = regexp.MustCompile(`^(` + strings.Join([]string{
	`[a-z]{0,12}`, // a word
	`[-+]?(\d{1,12}(\.\d{1,6})? ?[dhmsunµBkKMGTPib]{0,4}){1,3}`, // a number, a duration, a size
	`([a-z]{2,5}://)?[a-z0-9.-]{0,64}:\d{0,6}`,                  // host:port
	`[a-z]{2,5}://[a-z0-9.-]{1,64}/?`,                           // a URL without anything that can hold a password
	`~/[a-z./_-]{0,64}`,                                         // a path in a home directory
	`[*]{1,2}`,
	`[a-z]{2,6}(\.[a-zA-Z*]{1,20}){1,5}`, // a collection
	`did:[a-z]{1,8}:[a-z0-9.%:]{1,64}`,
}, `|`) + `)$`)

// notShown is said in the place of what is not repeated.
const notShown = "text that is not repeated here, as it may be a secret"

// Shown is a text that was given in the place of a value as an error may repeat it: in quotes, or not at all.
func Shown(text string) string {
	if plainValue.MatchString(text) {
		return strconv.Quote(text)
	}
	return notShown
}

// plainNumber is what a number looks like that is none by accident.
var plainNumber = regexp.MustCompile(`^[-+]?[0-9_]{1,12}(\.[0-9_]{1,12})?$`)

var (
	plainKey      = regexp.MustCompile(`^[A-Z]?[a-z_.-]{1,23}( [A-Z]?[a-z_.-]{1,12})?$`) // "levle", "Backoff", "Big Sky"
	plainVariable = regexp.MustCompile(`^[A-Z_][A-Z_0-9]{0,63}$`)
	bareKey       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// showPath writes a path as TOML does, quoting what needs it. What does not look like a key is not repeated.
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

// showName is a feed's name that is none.
func showName(name string) string {
	if plainKey.MatchString(name) {
		return strconv.Quote(name)
	}
	return notShown
}

// showVariable is the name of an environment variable, where it looks like one.
func showVariable(name string) string {
	if plainVariable.MatchString(name) {
		return "the environment variable " + name
	}
	return fmt.Sprintf("the environment variable of that name (%d characters)", len(name))
}
