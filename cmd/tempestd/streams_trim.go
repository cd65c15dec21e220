package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/persistence"
)

func (a *app) streamsInfoCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "info <stream>",
		Short: "Show a stream",
		Long:  `Info shows what a stream has and keeps, who fills and reads it, and whether it is closed.`,
		Example: `  tempestd streams info bluesky
  tempestd streams info bluesky --json | jq .entries`,
		Args:              exactly("the name of a stream"),
		ValidArgsFunction: a.completeNames(streamNames),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withClient(func(daemon *client.Client) error {
				s, err := daemon.StreamStatus(c.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, s)
				}
				row := streamRow(&s)
				for _, line := range [][2]string{{"stream", row[0]}, {"feed", row[1]}, {"entries", row[2]}, {"size", row[3]}, {"oldest", row[4]}, {"newest", row[5]},
					{"keeps", row[6]}, {"readers", showCount(s.Readers)}, {"open", openOrClosed(&s)}} {
					fmt.Fprintf(a.out, "%-8s %s\n", line[0], line[1])
				}
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	return c
}

// openOrClosed says whether a stream is closed, when and why.
func openOrClosed(s *client.StreamStatus) string {
	if s.ClosedAt == nil {
		return "yes"
	}
	return fmt.Sprintf("no, closed at %s: %s", s.ClosedAt.UTC().Format(time.RFC3339), plain.Line(s.ClosedReason))
}

func (a *app) streamsTrimCommand() *cobra.Command {
	var age, size string
	var entries int64
	c := &cobra.Command{
		Use:   "trim <stream>",
		Short: "Drop the oldest entries of a stream now",
		Long: `Trim drops the oldest entries of a stream for good, until no bound that is given is exceeded, and
gives their space back. Whole blocks are dropped, so up to one block more stays. What the stream
keeps from then on is in the configuration (retention), which does not change.`,
		Example: `  tempestd streams trim bluesky --age 2d
  tempestd streams trim bluesky --bytes 5GiB
  tempestd streams trim old --entries 1000`,
		Args:              exactly("the name of a stream"),
		ValidArgsFunction: a.completeNames(streamNames),
		RunE: func(c *cobra.Command, args []string) error {
			keep := persistence.Retention{Entries: entries}
			if age != "" {
				back, ok := parseBack(age)
				if !ok || back < time.Second {
					return usage("--age: got %.40q; want a duration from 1s on, such as 36h or 7d", age)
				}
				keep.Age = back
			}
			if size != "" {
				n, err := humanize.ParseBytes(size)
				if err != nil || n < 1 || n > 1<<62 {
					return usage("--bytes: got %.40q; want a size such as 500MB or 5GiB", size)
				}
				keep.Bytes = int64(n)
			}
			if entries < 0 || keep == (persistence.Retention{}) {
				return usage("want --age, --bytes or --entries, each more than 0")
			}
			return a.withClient(func(daemon *client.Client) error {
				done, err := daemon.Trim(c.Context(), args[0], keep)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s: dropped %s, %s; %s left\n", args[0], plural(done.Entries, "entry"), humanize.IBytes(uint64(max(done.Bytes, 0))), plural(done.Kept, "entry"))
				return nil
			})
		},
	}
	c.Flags().StringVar(&age, "age", "", "drop what is older than this `duration`: 36h, 7d")
	c.Flags().StringVar(&size, "bytes", "", "keep at most this `size`, compressed: 5GiB")
	c.Flags().Int64Var(&entries, "entries", 0, "keep at most so many entries")
	a.clientFlags(c)
	return c
}
