package persistence

import "fmt"

// maxNameLen is the longest name of a stream, a feed or a consumer.
const maxNameLen = 64

// CheckName returns a *ConfigError that matches ErrBadName for a name that is not usable as a
// stream's key, as a file name and as a URL segment alike.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxNameLen
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '.' || c == '_' || c == '-'))
	}
	if !ok {
		return &ConfigError{Field: "stream", Err: ErrBadName,
			Message: fmt.Sprintf("is %.80q; accepted: 1 to %d of a-z 0-9 . _ -, starting with a letter or digit", name, maxNameLen)}
	}
	return nil
}
