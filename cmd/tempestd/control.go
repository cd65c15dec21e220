package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
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

// controlCommand is a command that asks one thing of one feed.
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
					return named(c.Context(), daemon, err)
				}
				fmt.Fprintf(a.err, "%s: %s\n", args[0], done)
				return nil
			})
		},
	}
	a.clientFlags(c)
	return c
}
