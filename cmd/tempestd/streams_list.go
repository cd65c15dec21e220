package main

import (
	"bufio"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/messages"
)

func (a *app) streamsListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the streams",
		Long: `List shows every stream that the daemon stores. A stream without a feed gets nothing more: its
feed was removed from the configuration, or renamed. It stays readable and keeps what it kept,
and can be deleted.`,
		Example: `  tempestd streams list
  tempestd streams list --json | jq -r '.[] | select(.Feed | not).name'`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(daemon *client.Client) error {
				all, err := daemon.StreamStatuses(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, all)
				}
				rows := make([][]string, len(all))
				for i := range all {
					rows[i] = streamRow(&all[i])
				}
				table(a.out, newPalette(a.out), []string{"STREAM", "FEED", "ENTRIES>", "SIZE>", "OLDEST", "NEWEST", "KEEPS", ""}, rows)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	return c
}

func streamRow(s *client.StreamStatus) []string {
	feed, closed, oldest, newest := "none", "", "-", "-"
	if s.Feed {
		feed = "yes"
	}
	if s.ClosedAt != nil {
		closed = "closed: " + plain.Line(s.ClosedReason)
	}
	if s.Oldest != nil {
		oldest = showMicros(s.Oldest.TimeUS())
	}
	if s.Newest != nil {
		newest = showMicros(s.Newest.TimeUS())
	}
	return []string{plain.Line(s.Name), feed, showCount(s.Entries), humanize.IBytes(uint64(max(s.Bytes, 0))), oldest, newest, showRetention(s.Retention), closed}
}

// showRetention shows what a stream keeps.
func showRetention(r *messages.Retention) string {
	if r == nil {
		return "-"
	}
	var parts []string
	if r.AgeSeconds > 0 {
		parts = append(parts, showAge(time.Duration(r.AgeSeconds)*time.Second))
	}
	if r.Bytes > 0 {
		parts = append(parts, humanize.IBytes(uint64(r.Bytes)))
	}
	if r.Entries > 0 {
		parts = append(parts, plural(r.Entries, "entry"))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

func (a *app) streamsDeleteCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "delete <stream>",
		Short: "Delete a stream that no feed fills",
		Long: `Delete removes a stream for good, with its named consumers and its ledger of gaps. It asks for
the stream's name first, unless --yes is given. A stream that a feed fills is refused: take the
feed out of the configuration and reload first.`,
		Example: `  tempestd streams delete old
  tempestd streams delete old --yes`,
		Args:              exactly("the name of a stream"),
		ValidArgsFunction: a.completeNames(streamNames),
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			return a.withClient(func(daemon *client.Client) error {
				if !yes {
					info, err := daemon.Stream(c.Context(), name)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.err, "%s has %s, %s. They are lost for good. Type the name of the stream to delete it: ",
						name, plural(info.Entries, "entry"), humanize.IBytes(uint64(max(info.Bytes, 0))))
					// An input that ends says nothing, which is not the name.
					given, _ := bufio.NewReader(a.in).ReadString('\n')
					if strings.TrimSpace(given) != name {
						fmt.Fprintln(a.err)
						return fmt.Errorf("not deleted: that is not %s", name)
					}
				}
				if err := daemon.DeleteStream(c.Context(), name); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s: deleted\n", name)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "delete without asking")
	a.clientFlags(c)
	return c
}
