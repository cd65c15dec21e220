// Package version says which build of tempestd runs, to people and to the servers that it asks.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Build is the build information of the binary.
type Build struct {
	// Version is the release's, else the module's: of the commit's tag, or made of its time and hash.
	// It is "(devel)" without either.
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // ends in "-dirty" if the tree had changes
	Time    string `json:"time,omitempty"`   // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// release is set by the linker: make build VERSION=v1.2.3.
var release string

// This reads the build information of the running binary.
func This() Build {
	b := Build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	b.Version = cmp.Or(release, info.Main.Version, b.Version)
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value + b.Commit
		case s.Key == "vcs.modified" && s.Value == "true":
			b.Commit += "-dirty"
		case s.Key == "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}

func (b Build) String() string {
	s := "tempestd " + b.Version
	if b.Commit != "" {
		s += fmt.Sprintf(" (commit %s, %s)", b.Commit, b.Time)
	}
	return fmt.Sprintf("%s %s %s/%s", s, b.Go, b.OS, b.Arch)
}

// UserAgent returns the User-Agent of all requests of a tempestd of that version: to upstreams, so
// that their operators know who asks and where to read about it, and to other daemons.
//
//	tempestd/v1.2.3 (+https://host/path/of/the/module)
//
// The URL is that of the module of the running binary. A module whose path has no host, and so is
// no URL, is named by its page in the catalogue of Go modules.
func UserAgent(version string) string {
	module := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		module = info.Main.Path
	}
	return userAgent(version, module)
}

func userAgent(version, module string) string {
	page := catalogue
	if host, _, found := strings.Cut(module, "/"); found && strings.Contains(host, ".") {
		page = module
	}
	return "tempestd/" + strings.Map(tokenChar, version) + " (+https://" + page + ")"
}

// catalogue is the project's page in the catalogue of Go modules.
const catalogue = "pkg.go.dev/tempestd"

// tokenChar drops characters that may not stand in a product's version (RFC 9110, 5.6.2), such as
// the parentheses of "(devel)".
func tokenChar(r rune) rune {
	if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
		return r
	}
	return -1
}
