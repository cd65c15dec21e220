package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
)

// logLevels are the levels of the log, from the least to the most urgent.
var logLevels = []string{"debug", "info", "warn", "error"}

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "log",
		Short:   "Look at the log of a running daemon",
		Long:    `Log shows and changes how much a running daemon logs.`,
		Example: `  tempestd log level debug`,
		Args:    none,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	sub := a.logLevelCommand()
	a.counted(sub)
	c.AddCommand(sub)
	return c
}

func (a *app) logLevelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "level [debug|info|warn|error]",
		Short: "Show or change the level of the log",
		Long: `Level prints the level of the daemon's log, or changes it until the next reload or restart: then
log.level of the configuration is in force again.`,
		Example: `  tempestd log level
  tempestd log level debug`,
		ValidArgs: logLevels,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !slices.Contains(logLevels, args[0]) {
				return fmt.Errorf("got %.40q; want one of %s, or none", args, strings.Join(logLevels, ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				if len(args) == 1 {
					if err := daemon.SetLogLevel(c.Context(), args[0]); err != nil {
						return err
					}
				}
				level, err := daemon.LogLevel(c.Context())
				if err == nil {
					_, err = fmt.Fprintln(a.out, plain.Line(level))
				}
				return err
			})
		},
	}
	a.clientFlags(c)
	return c
}
