package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is the build information of the binary.
type build struct {
	// Version is the module's version, or "(devel)" if the binary was not built from a tagged one.
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // ends in "-dirty" if the tree had changes
	Time    string `json:"time,omitempty"`   // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// thisBuild reads the build information of the running binary.
func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
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

func (b build) String() string {
	s := "tempestd " + b.Version
	if b.Commit != "" {
		s += fmt.Sprintf(" (commit %s, %s)", b.Commit, b.Time)
	}
	return fmt.Sprintf("%s %s %s/%s", s, b.Go, b.OS, b.Arch)
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  none,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return printJSON(a.out, thisBuild())
			}
			_, err := fmt.Fprintln(a.out, thisBuild())
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
