package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/plain"
	"tempestd/messages"
)

func (a *app) cursorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cursor",
		Short: "Show and move the position of a feed",
		Long: `A feed's cursor is its position upstream: up to there everything is stored, or its loss is
recorded. Show and export ask the running daemon. Set and import move the position while no daemon
runs: back, so that the upstream is asked again and what is missing is stored, nothing twice; or
forward, which records a gap. The store must be under data_dir.`,
		Example: `  tempestd cursor show bluesky
  tempestd cursor set bluesky 2h
  tempestd cursor export bluesky > bluesky.cursor
  tempestd cursor import bluesky.cursor`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, sub := range []*cobra.Command{a.cursorShowCommand(), a.cursorSetCommand(), a.cursorExportCommand(), a.cursorImportCommand()} {
		a.counted(sub)
		c.AddCommand(sub)
	}
	return c
}

func (a *app) cursorShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show <feed>",
		Short: "Show where a feed would resume",
		Long: `Show prints the stored position of a feed: the upstream that it belongs to, the sequence number
and the time of the last event there, and the moment up to which nothing is missing.`,
		Example:           "  tempestd cursor show bluesky",
		Args:              exactly("the name of a feed"),
		ValidArgsFunction: a.completeNames(feedNames),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				cursor, err := daemon.Cursor(c.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, cursor)
				}
				printCursor(a.out, cursor)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	return c
}

func printCursor(w io.Writer, c messages.Cursor) {
	host, seq := "any", "-"
	if c.Position.Host != "" {
		host = plain.Line(c.Position.Host)
	}
	if c.Position.Seq > 0 {
		seq = fmt.Sprint(c.Position.Seq)
	}
	for _, line := range [][2]string{{"feed", plain.Line(c.Feed)}, {"host", host}, {"sequence", seq}, {"time", showMicros(c.Position.TimeUS)}, {"covered", showMicros(c.CoveredUS)}, {"last entry", c.LastID.String()}} {
		fmt.Fprintf(w, "%-11s %s\n", line[0], line[1])
	}
}

// cursorFile is the form of an exported cursor.
type cursorFile struct {
	Version int             `json:"tempestd_cursor"` // cursorVersion
	Cursor  messages.Cursor `json:"cursor"`
}

const cursorVersion = 1

func (a *app) cursorExportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "export <feed>",
		Short: "Print the position of a feed, for import on another machine",
		Long: `Export prints the stored position of a feed as JSON. With import a daemon on another machine goes
on from there, with an empty stream. To take the stream along as well, use backup and restore.`,
		Example:           "  tempestd cursor export bluesky > bluesky.cursor",
		Args:              exactly("the name of a feed"),
		ValidArgsFunction: a.completeNames(feedNames),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				cursor, err := daemon.Cursor(c.Context(), args[0])
				if err != nil {
					return err
				}
				if cursor.CoveredUS == 0 {
					return fmt.Errorf("feed %s has no position yet", args[0])
				}
				return printJSON(a.out, cursorFile{cursorVersion, cursor})
			})
		},
	}
	a.clientFlags(c)
	return c
}

func (a *app) cursorSetCommand() *cobra.Command {
	var asJSON, yes bool
	c := &cobra.Command{
		Use:   "set <feed> <time>",
		Short: "Move the position of a feed to a time, while no daemon runs",
		Long: `Set moves the position of a feed: 10m or 7d ago, yesterday, a day, or a time such as
2026-11-01T15:00:00Z. When the daemon starts, the feed asks for what came since then, and rewind
before it.

Back is safe: what the stream holds is recognised and not stored again, and what it lacks is
appended. Forward leaves events out. The gap is recorded: it has an entry in the stream, and is
repaired in the background as the feed's gap_policy says, unless it is dismissed. Set does that
only with --yes.`,
		Example: `  tempestd cursor set bluesky 2h
  tempestd cursor set bluesky now --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("got %d arguments; want two, the name of a feed and a time", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			at, err := parseMoment(time.Now(), args[1])
			if err != nil {
				return usageError{err}
			}
			return a.moveCursor(c, args[0], at, yes, asJSON)
		},
	}
	a.configFlag(c)
	c.Flags().BoolVar(&yes, "yes", false, "leave events out without asking")
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) cursorImportCommand() *cobra.Command {
	var asJSON, yes bool
	var feed string
	c := &cobra.Command{
		Use:   "import <file>",
		Short: "Begin where an exported position is, while no daemon runs",
		Long: `Import moves the position of a feed to the moment up to which nothing was missing on the machine
of the export, and "rewind" before it: a few events are in both streams, none in neither. It is
the same as set with that time.`,
		Example: `  tempestd cursor import bluesky.cursor
  tempestd cursor import bluesky.cursor --feed sky`,
		Args: exactly("a file of cursor export, or - for standard input"),
		RunE: func(c *cobra.Command, args []string) error {
			exported, err := a.readCursor(args[0])
			if err != nil {
				return err
			}
			if feed == "" {
				feed = exported.Feed
			}
			return a.moveCursor(c, feed, time.UnixMicro(exported.CoveredUS), yes, asJSON)
		},
	}
	a.configFlag(c)
	c.Flags().StringVar(&feed, "feed", "", "`name` of the feed here (default as in the file)")
	c.Flags().BoolVar(&yes, "yes", false, "leave events out without asking")
	jsonFlag(c, &asJSON)
	return c
}

// maxCursorFile bounds the file of an exported cursor, in bytes.
const maxCursorFile = 64 << 10

// readCursor reads an exported cursor.
func (a *app) readCursor(name string) (messages.Cursor, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return messages.Cursor{}, usageError{err}
		}
		defer f.Close()
		in = f
	}
	var file cursorFile
	err := json.NewDecoder(io.LimitReader(in, maxCursorFile)).Decode(&file)
	if err != nil || file.Version != cursorVersion || file.Cursor.CoveredUS <= 0 {
		return messages.Cursor{}, usage("%.100s is not what cursor export prints", plain.Line(name))
	}
	return file.Cursor, nil
}

// moveCursor moves a feed's position. A move that leaves events out needs yes.
func (a *app) moveCursor(c *cobra.Command, feed string, at time.Time, yes, asJSON bool) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	var moved daemon.MovedCursor
	err = inDataDir(cfg.DataDir, func() error {
		moved, err = daemon.MoveCursor(c.Context(), cfg, feed, at, daemon.MoveOptions{Clock: clockwork.NewRealClock(), Skip: yes})
		return err
	})
	if ahead, ok := errors.AsType[*daemon.AheadError](err); ok {
		return fmt.Errorf("%w; --yes does it", ahead)
	}
	if errors.Is(err, messages.ErrNoFeed) {
		return fmt.Errorf("%w; the feeds are: %s", err, configuredFeeds(cfg))
	}
	if err != nil {
		return held(err, "stop it first (systemctl stop tempestd)")
	}
	if asJSON {
		return printJSON(a.out, moved)
	}
	fmt.Fprintf(a.err, "%s: moved from %s to %s\n", feed, showMicros(moved.Was.CoveredUS), showMicros(moved.Is.CoveredUS))
	if moved.Gap != nil {
		fmt.Fprintf(a.err, "the events between are gap %s\n", moved.Gap.ID)
	}
	return nil
}

func configuredFeeds(cfg *config.Config) (names string) {
	for i := range cfg.Feeds {
		if i > 0 {
			names += ", "
		}
		names += cfg.Feeds[i].Name
	}
	return names
}
