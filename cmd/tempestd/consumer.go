package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/messages"
)

func (a *app) consumerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "consumer",
		Short: "Make, watch and serve named consumers of a stream",
		Long: `A named consumer is a position in a stream that the daemon keeps, durably. Whoever asks it for what
comes next is handed a batch under a lease; acknowledging it moves the position. A batch that is
not acknowledged before its lease ends goes out again. Any number of workers may share a consumer:
one batch is out at a time, so entries are dealt with in order.`,
		Example: `  tempestd consumer create bluesky indexer --after 0-0 --collections app.bsky.feed.post
  tempestd consumer next bluesky indexer --wait 30s --ack
  tempestd consumer list bluesky`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, sub := range []*cobra.Command{
		a.consumerListCommand(), a.consumerCreateCommand(), a.consumerDeleteCommand(), a.consumerSeekCommand(),
		a.consumerNextCommand(), a.consumerAckCommand(), a.consumerNackCommand(),
	} {
		work := sub.RunE
		sub.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return work(c, args)
		}
		sub.ValidArgsFunction = a.completeNames(streamNames)
		a.clientFlags(sub)
		c.AddCommand(sub)
	}
	return c
}

func (a *app) consumerListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list <stream>",
		Short: "Show a stream's consumers and how far behind they are",
		Long: `List shows every consumer of a stream: its position, how many entries and how much time it is
behind the newest entry, for how long a batch is leased, and how often the batch that is not
acknowledged went out.`,
		Example: `  tempestd consumer list bluesky
  tempestd consumer list bluesky --json | jq '.[] | {name, lag_entries}'`,
		Args: exactly("the name of a stream"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				all, err := daemon.Consumers(c.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, all)
				}
				table(a.out, newPalette(a.out), consumerColumns(), consumerRows(all, time.Now()))
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func consumerColumns() []string {
	return []string{"CONSUMER", "STREAM", "ACKED", "LAG>", "LAG TIME>", "LEASE>", "DELIVERIES>", "FILTER"}
}

func consumerRows(all []messages.ConsumerStatus, now time.Time) [][]string {
	var rows [][]string
	for _, s := range all {
		lease := "-"
		if s.Lease != nil {
			lease = showAge(s.Lease.Until.Sub(now))
		}
		lag := showCount(s.LagEntries)
		if s.Expired != nil {
			lag = "expired, " + lag
		}
		rows = append(rows, []string{plain.Line(s.Name), plain.Line(s.Stream), s.Acked.String(), lag, showAge(time.Duration(s.LagMS) * time.Millisecond), lease,
			showCount(s.Deliveries), showFilter(s.Filter)})
	}
	return rows
}

func showFilter(f *messages.ConsumerFilter) string {
	if f == nil {
		return "-"
	}
	all := append(append(append([]string{}, f.Kinds...), f.Collections...), f.DIDs...)
	if f.Repaired != "" {
		all = append(all, "repaired="+f.Repaired)
	}
	return clip(plain.Line(strings.Join(all, " ")), 60)
}

func (a *app) consumerCreateCommand() *cobra.Command {
	var after string
	var filter messages.ConsumerFilter
	var unrepaired bool
	c := &cobra.Command{
		Use:   "create <stream> <consumer>",
		Short: "Make a consumer, or find that it is there",
		Long: `Create makes a consumer that begins after an entry, at the oldest one that is kept (0-0), or with
what comes from now on. Doing it again changes nothing; a consumer of that name with another
beginning or another filter is an error.`,
		Example: `  tempestd consumer create bluesky indexer --after now --kinds commit --collections 'app.bsky.feed.*'`,
		Args:    streamAndConsumer(),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				excludeRepaired(&filter, unrepaired)
				status, made, err := daemon.CreateConsumer(c.Context(), args[0], args[1], after, filter)
				if err != nil {
					return err
				}
				what := "is there already"
				if made {
					what = "made"
				}
				fmt.Fprintf(a.err, "%s/%s: %s, at %v\n", args[0], args[1], what, status.Acked)
				return nil
			})
		},
	}
	flags := c.Flags()
	flags.StringVar(&after, "after", "", "begin after the entry with this `id`; 0-0 is the oldest that is kept, now what comes from now on")
	must(c.MarkFlagRequired("after"))
	flags.StringSliceVar(&filter.Collections, "collections", nil, "only commits in these `NSIDs`, or below them as in app.bsky.graph.*")
	flags.StringSliceVar(&filter.DIDs, "dids", nil, "only events of these `accounts`")
	withoutRepairedFlag(c, &unrepaired)
	flags.StringSliceVar(&filter.Kinds, "kinds", nil, "only these `kinds`: commit, identity, account, sync, gap")
	return c
}

func (a *app) consumerDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete <stream> <consumer>",
		Short: "Remove a consumer and its position",
		Long: `Delete removes a consumer. Its position is forgotten, and the token of a batch that is out is worth
nothing any more. The stream stays as it is.`,
		Example: `  tempestd consumer delete bluesky indexer`,
		Args:    streamAndConsumer(),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				if err := daemon.DeleteConsumer(c.Context(), args[0], args[1]); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s/%s: deleted\n", args[0], args[1])
				return nil
			})
		},
	}
}

func (a *app) consumerSeekCommand() *cobra.Command {
	var after string
	c := &cobra.Command{
		Use:   "seek <stream> <consumer>",
		Short: "Move a consumer, back or on",
		Long: `Seek sets the position, whoever has a batch: what was out is taken back, and its token is worth
nothing any more. A consumer that retention has overtaken goes on no other way, so that nothing is
skipped unless somebody says so: --after the oldest cursor that the refusal names, or 0-0, is where
nothing more than that is missed.`,
		Example: `  tempestd consumer seek bluesky indexer --after 0-0`,
		Args:    streamAndConsumer(),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				status, err := daemon.SeekConsumer(c.Context(), args[0], args[1], after)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s/%s: at %v, %s entries behind\n", args[0], args[1], status.Acked, showCount(status.LagEntries))
				return nil
			})
		},
	}
	c.Flags().StringVar(&after, "after", "", "go on after the entry with this `id`; 0-0 is the oldest that is kept, now what comes from now on")
	must(c.MarkFlagRequired("after"))
	return c
}

// streamAndConsumer requires the names of a stream and a consumer.
func streamAndConsumer() cobra.PositionalArgs { return names("the stream", "the consumer") }

// names requires one argument for each description in what. The error lists the descriptions.
func names(what ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(what) {
			return fmt.Errorf("got %d arguments; want %d: %s", len(args), len(what), strings.Join(what, ", "))
		}
		return nil
	}
}
