package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
)

func (a *app) reconnectCommand() *cobra.Command {
	return a.controlCommand("reconnect", "Make a feed connect anew",
		`Reconnect ends the feed's connection, or its wait for the next one, and connects anew at once. It
resumes where it was: nothing is lost or stored twice. Doing it at any moment, or twice, is
harmless.`,
		"reconnecting", (*client.Client).Reconnect)
}

func (a *app) pauseCommand() *cobra.Command {
	return a.controlCommand("pause", "Stop a feed until it is resumed",
		`Pause ends the feed's connection and makes no other until resume. What was read is stored, and the
stream can be read meanwhile. A pause longer than the feed's replay_window leaves a gap, which is
recorded. It does not outlast a restart of the daemon.`,
		"paused", (*client.Client).Pause)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.controlCommand("resume", "Let a paused feed go on",
		`Resume ends a pause: the feed connects and catches up with what it missed, as far as the upstream
can replay it.`,
		"resumed", (*client.Client).Resume)
}

// controlCommand returns a command that sends one request about one feed.
func (a *app) controlCommand(verb, short, long, done string, ask func(*client.Client, context.Context, string) error) *cobra.Command {
	c := &cobra.Command{
		Use:               verb + " <feed>",
		Short:             short,
		Long:              long,
		Example:           "  tempestd " + verb + " bluesky",
		Args:              exactly("the name of a feed"),
		ValidArgsFunction: a.completeNames(feedNames),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				if err := ask(daemon, c.Context(), args[0]); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s: %s\n", args[0], done)
				return nil
			})
		},
	}
	a.clientFlags(c)
	return c
}

func (a *app) closeCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "close <stream>",
		Short: "End a stream for good",
		Long: `Close ends a stream for good: nothing is appended to it any more, its feed stops, and its readers
are told of the end once they have the last entry. It stays readable for as long as it is kept. It
cannot be undone; closing it again changes nothing, the first reason stands.`,
		Example:           "  tempestd close bluesky --reason 'moved to bluesky2'",
		Args:              exactly("the name of a stream"),
		ValidArgsFunction: a.completeNames(streamNames),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				info, err := daemon.CloseStream(c.Context(), args[0], reason)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s: closed at %s: %s\n", args[0], info.ClosedAt.Format(time.RFC3339), plain.Line(info.ClosedReason))
				return nil
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who find the stream closed (one line)")
	_ = c.MarkFlagRequired("reason") // the flag exists, so there is no error
	a.clientFlags(c)
	return c
}
