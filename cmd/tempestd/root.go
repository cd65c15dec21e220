package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/plain"
	"tempestd/internal/version"
)

// Exit codes. A command that a signal ended exits with 128 plus the signal's number.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	// What another start does not mend. The numbers are those of sysexits.h, which systemd names.
	exitVersion   = 65
	exitTaken     = 69
	exitForbidden = 77
)

// app is the process from the commands' view.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)

	configPath string // -c
	addr       string // --addr
	tokenFile  string // --token-file
	// started is true when a command's own work has begun. Later errors are not about the command
	// line.
	started bool
}

// usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage returns a usageError.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

const rootHelp = `tempestd keeps Bluesky Jetstream feeds alive: it subscribes, rides out whatever ends a connection,
appends every event exactly once and in order to a durable stream, and serves the streams to any
number of readers.

Try it with nothing installed or configured:

  tempestd demo --faults       everything at once, against a simulated upstream that breaks
  tempestd run                 the daemon, on a public feed
  tempestd tail bluesky -f     what it stores, as it comes

Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 65 the store is
another version's, 69 another process has the port or data_dir, 77 the user lacks a permission,
128+n ended by signal n.`

// newRoot returns the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "tempestd",
		Short:         "Keep Jetstream feeds alive, checkpointed and re-servable",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.This().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.CompletionOptions.HiddenDefaultCmd = false

	root.AddGroup(
		&cobra.Group{ID: "daemon", Title: "The daemon:"},
		&cobra.Group{ID: "client", Title: "A running daemon:"},
		&cobra.Group{ID: "try", Title: "To try and to develop:"},
	)
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			work := c.RunE
			c.RunE = func(c *cobra.Command, args []string) error {
				a.started = true
				return work(c, args)
			}
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("daemon", a.runCommand(), a.checkCommand(), a.doctorCommand(), a.streamsCommand(), a.cursorCommand(), a.backupCommand(), a.restoreCommand())
	group("client", a.tailCommand(), a.consumerCommand(), a.statusCommand(), a.gapsCommand(), a.reconnectCommand(), a.pauseCommand(), a.resumeCommand(), a.closeCommand(), a.reloadCommand(), a.logCommand(), a.supportCommand())
	group("try", a.demoCommand(), a.simulateCommand())
	group("", a.versionCommand())
	return root
}

// exactly requires one argument. The error says what it is.
func exactly(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("got %d arguments; want one, %s", len(args), what)
		}
		return nil
	}
}

// none requires that there are no arguments.
func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("got the argument %.40q; want none", args[0])
	}
	return nil
}

// must panics on an error that only a mistake in the command tree can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// execute runs one command line and returns the exit code of the process. ctx ends when a signal
// asks for a stop.
func execute(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	var mistake usageError
	var invalid *config.Errors
	var rejected errRejected
	var signal signalled
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &invalid):
		fmt.Fprintln(a.err, err)
		return exitUsage
	case errors.As(err, &rejected): // several lines, of which none repeats a secret
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(a.err, plain.Line(line))
		}
		return exitUsage
	case errors.As(err, &mistake), !a.started:
		fmt.Fprintf(a.err, "%s: %s\nRun '%s --help' for how to use it.\n", command.CommandPath(), withoutSecrets(err, args), command.CommandPath())
		return exitUsage
	case errors.As(err, &signal), errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &signal):
		return signal.exitCode()
	}
	fmt.Fprintf(a.err, "%s: %s\n", command.CommandPath(), withoutSecrets(err, args))
	switch {
	case errors.Is(err, daemon.ErrVersion):
		return exitVersion
	case errors.Is(err, daemon.ErrTaken):
		return exitTaken
	case errors.Is(err, daemon.ErrForbidden):
		return exitForbidden
	}
	return exitFailure
}

// withoutSecrets returns the message of an error without quoted arguments that may be misplaced
// secrets (I10): other people may see the screen than those who can see the command line.
func withoutSecrets(err error, args []string) string {
	said := plain.Line(err.Error())
	for _, arg := range args {
		for _, given := range append(strings.SplitN(arg, "=", 2), arg) {
			shown := config.Shown(given)
			if shown == strconv.Quote(given) {
				continue
			}
			for n := len(given); n > 0; { // the whole, or cut as messages cut it
				said = strings.ReplaceAll(said, strconv.Quote(given[:n]), shown)
				switch {
				case n > 100:
					n = 100
				case n > 80:
					n = 80
				case n > 64:
					n = 64
				case n > 40:
					n = 40
				default:
					n = 0
				}
			}
		}
	}
	return said
}

// configFlag adds -c.
func (a *app) configFlag(c *cobra.Command) {
	c.Flags().StringVarP(&a.configPath, "config", "c", "", "configuration `file` (default ./config.toml, else /etc/tempestd/config.toml, else built-in defaults)")
	must(c.MarkFlagFilename("config", "toml"))
}

// loadConfig finds and loads the configuration.
func (a *app) loadConfig() (*config.Config, error) {
	path, err := config.Find(a.configPath)
	if err != nil {
		return nil, err
	}
	return config.Load(path, a.env)
}

// daemonConfig loads the configuration for a daemon, which needs every secret.
func (a *app) daemonConfig() (*config.Config, error) {
	cfg, err := a.loadConfig()
	if err == nil && len(cfg.Unresolved) > 0 {
		return nil, &config.Errors{List: cfg.Unresolved}
	}
	return cfg, err
}
