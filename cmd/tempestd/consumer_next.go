package main

import (
	"bufio"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
)

func (a *app) consumerNextCommand() *cobra.Command {
	var opt client.NextOptions
	var ack, asJSON bool
	c := &cobra.Command{
		Use:   "next <stream> <consumer>",
		Short: "Take a consumer's next batch",
		Long: `Next leases the next batch and prints its entries, as tail does. The token that acknowledges it
goes to standard error; with --ack that is done once they are printed. Nothing printed is no error:
nothing came, or somebody else had a batch, for as long as --wait says.`,
		Example: `  tempestd consumer next bluesky indexer
  tempestd consumer next bluesky indexer -n 1000 --wait 30s --ack | jq -r .event.did`,
		Args: streamAndConsumer(),
		RunE: func(c *cobra.Command, args []string) error {
			// 0 is the default of the client.
			if opt.Limit == 0 || opt.Lease == 0 {
				return usage("-n, --lease: got %d, %v; want 1 to 1000 entries, and a lease from 1s to 1h", opt.Limit, opt.Lease)
			}
			t := &tail{app: a, stream: args[0], limit: -1, out: bufio.NewWriterSize(a.out, 64<<10)}
			t.print = t.printJSON
			if !asJSON && isTerminal(a.out) {
				t.print = newReader(a.out, t.out).print
			}
			return a.withClient(func(daemon *client.Client) error {
				batch, err := daemon.Next(c.Context(), args[0], args[1], opt)
				if err != nil {
					return err
				}
				if err := t.write(batch.Frames); err != nil {
					return err
				}
				switch {
				case batch.Token == "" && batch.Left > 0:
					fmt.Fprintf(a.err, "not the turn: a batch is out for another %s\n", showAge(batch.Left))
				case batch.Token == "" && !batch.ClosedAt.IsZero():
					fmt.Fprintf(a.err, "stream %s is closed: %s\n", args[0], plain.Line(batch.ClosedReason))
				case batch.Token == "":
					fmt.Fprintln(a.err, "nothing is there")
				case ack:
					return daemon.Ack(c.Context(), args[0], args[1], batch.Token)
				default:
					fmt.Fprintf(a.err, "token %s, for %s, delivery %d\n", plain.Line(batch.Token), showAge(batch.Left), batch.Deliveries)
				}
				return nil
			})
		},
	}
	flags := c.Flags()
	flags.IntVarP(&opt.Limit, "limit", "n", 100, "most `entries` of the batch, 1 to 1000")
	flags.DurationVar(&opt.Block, "wait", 0, "how long to wait for entries and for the turn, up to `30s`")
	flags.DurationVar(&opt.Lease, "lease", 30*time.Second, "how long the batch is kept from others, from 1s to `1h`")
	flags.BoolVar(&ack, "ack", false, "acknowledge what was printed")
	flags.BoolVar(&asJSON, "json", false, "print JSON lines on a terminal as well")
	return c
}

func (a *app) consumerAckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ack <stream> <consumer> <token>",
		Short: "Say that a batch was dealt with",
		Long: `Ack moves the consumer's position behind the batch that the token is for. Doing it again changes
nothing; a token whose batch has gone out again, or was given back, is refused.`,
		Example: `  tempestd consumer ack bluesky indexer 1795327636563-30000.NBSWY3DPEB3W64TMMQQGC3DMEB`,
		Args:    names("the stream", "the consumer", "the token that next gave"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				return daemon.Ack(c.Context(), args[0], args[1], args[2])
			})
		},
	}
}

func (a *app) consumerNackCommand() *cobra.Command {
	var delay time.Duration
	c := &cobra.Command{
		Use:   "nack <stream> <consumer> <token>",
		Short: "Give a batch back, to be handed out again",
		Long: `Nack ends the lease of the batch that the token is for, and leaves the position where it is: the
batch goes out again, at once or after --delay, to whoever asks next.`,
		Example: `  tempestd consumer nack bluesky indexer 1795327636563-30000.NBSWY3DPEB3W64TMMQQGC3DMEB --delay 5s`,
		Args:    names("the stream", "the consumer", "the token that next gave"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				return daemon.Nack(c.Context(), args[0], args[1], args[2], delay)
			})
		},
	}
	c.Flags().DurationVar(&delay, "delay", 0, "keep it back for so long, up to `1h`")
	return c
}
