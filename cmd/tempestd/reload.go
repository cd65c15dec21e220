package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
)

// errRejected is the error of a reload whose configuration is wrong.
type errRejected struct{ error }

func (a *app) reloadCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration again",
		Long: `Reload makes the running daemon read its configuration again, and waits until that is in
force. It adds, removes and changes feeds, and takes over the other keys that need no restart.
Feeds that did not change keep their connections. When something is wrong with the file, all of
it is printed and nothing changes. Keys that need a restart are named.

The stream of a feed that was removed stays and keeps what it kept: see "tempestd streams".

Exit codes: 0 the configuration is in force, apart from what needs a restart, 1 the daemon could
not be asked, 2 the configuration is wrong.`,
		Example: `  tempestd reload
  tempestd check -q && tempestd reload`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(daemon *client.Client) error {
				changed, err := daemon.Reload(c.Context())
				var refused *client.APIError
				if errors.As(err, &refused) && refused.Name == "ConfigRejected" {
					return errRejected{err}
				}
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, changed)
				}
				if changed.IsNothing() {
					fmt.Fprintln(a.out, "nothing has changed")
				}
				for _, part := range []struct {
					what  string
					names []string
				}{
					{"feeds added", changed.Added}, {"feeds removed", changed.Removed}, {"feeds changed", changed.Changed},
					{"keys changed", changed.Keys}, {"needs a restart", changed.Restart},
				} {
					if len(part.names) > 0 {
						fmt.Fprintf(a.out, "%s: %s\n", part.what, plain.Line(strings.Join(part.names, ", ")))
					}
				}
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	return c
}
