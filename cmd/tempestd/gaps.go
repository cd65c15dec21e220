package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/messages"
)

func (a *app) gapsCommand() *cobra.Command {
	var asJSON bool
	var feed string
	var states []string
	c := &cobra.Command{
		Use:   "gaps",
		Short: "Show the gaps of the feeds, and have them repaired or given up",
		Long: `Gaps shows what is missing in the streams, and what became of it: the gaps first that may still be
closed, the newest of each kind first.

LACKS is the length of the gap, RECOVERED how many events were fetched into it, FETCHED how much of
what there is to download was downloaded. WHY is the reason for the state; what no source could
give follows it.`,
		Example: `  tempestd gaps
  tempestd gaps --feed bluesky --state open,waiting
  tempestd gaps --json | jq '.gaps[] | {id, state, missing}'`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			q := client.GapQuery{Feed: feed}
			for _, name := range states {
				state := messages.GapState(name)
				if !slices.Contains(messages.GapStates, state) {
					return usage("--state: got %.40q; accepted: %v, with commas between them", name, messages.GapStates)
				}
				q.States = append(q.States, state)
			}
			return a.withClient(func(daemon *client.Client) error {
				list, err := daemon.Gaps(c.Context(), q)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.out, list)
				}
				a.printGaps(list, q.States)
				return nil
			})
		},
	}
	c.Flags().StringVar(&feed, "feed", "", "only the gaps of this `feed`")
	c.Flags().StringSliceVar(&states, "state", nil, "only gaps in these `states`: open, waiting, repairing, repaired, partly, unrepairable")
	must(c.RegisterFlagCompletionFunc("feed", a.completeNames(feedNames)))
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	for _, sub := range []*cobra.Command{a.gapsRepairCommand(), a.gapsDismissCommand()} {
		work := sub.RunE
		sub.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return work(c, args)
		}
		sub.ValidArgsFunction = a.completeNames(gapIDs)
		a.clientFlags(sub)
		c.AddCommand(sub)
	}
	return c
}

func (a *app) gapsRepairCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "repair <id>",
		Short: "Fetch what is missing, now",
		Long: `Repair makes the gap's feed fetch what is missing now, whatever the feed's policy and however often
it was tried. With --dry-run nothing is fetched: each source is asked what it would cost. The
beginning of an ID is enough where no other gap's begins with it.`,
		Example: `  tempestd gaps repair 3f --dry-run
  tempestd gaps repair 3f9a0c11d2e4b567`,
		Args: exactly("the id of a gap"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withGap(c.Context(), args[0], func(daemon *client.Client, gap messages.GapStatus) error {
				if dry {
					price, err := daemon.PriceGap(c.Context(), gap.Feed, gap.ID)
					if err == nil {
						a.printOffers(price.Offers)
					}
					return err
				}
				if err := daemon.RepairGap(c.Context(), gap.Feed, gap.ID); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s of %s: is being repaired\n", plain.Line(gap.ID), plain.Line(gap.Feed))
				return nil
			})
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only show what each source would cost")
	return c
}

func (a *app) gapsDismissCommand() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:   "dismiss <id>",
		Short: "Give a gap up",
		Long: `Dismiss makes the gap's feed give the gap up: it stays in the ledger and in the stream, and is not
fetched any more unless repair asks for it. The beginning of an ID is enough where no other gap's
begins with it.`,
		Example: `  tempestd gaps dismiss 3f --why 'older than we need'`,
		Args:    exactly("the id of a gap"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withGap(c.Context(), args[0], func(daemon *client.Client, gap messages.GapStatus) error {
				if err := daemon.DismissGap(c.Context(), gap.Feed, gap.ID, why); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "%s of %s: given up\n", plain.Line(gap.ID), plain.Line(gap.Feed))
				return nil
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the reason, for those who find the gap (one line)")
	return c
}

// withGap calls f with the gap whose ID begins with the given text. If there are several, it is the
// one whose ID is the text.
func (a *app) withGap(ctx context.Context, id string, f func(*client.Client, messages.GapStatus) error) error {
	if id == "" {
		return usage("got an empty id; want the id of a gap or its beginning")
	}
	return a.withClient(func(daemon *client.Client) error {
		list, err := daemon.Gaps(ctx, client.GapQuery{ID: id})
		if err != nil {
			return err
		}
		found := list.Gaps
		if i := slices.IndexFunc(found, func(g messages.GapStatus) bool { return g.ID == id }); i >= 0 {
			found = found[i : i+1]
		}
		switch len(found) {
		case 0:
			return fmt.Errorf("%w: %.40q; tempestd gaps lists those there are", messages.ErrNoGap, id)
		case 1:
			return f(daemon, found[0])
		}
		ids := make([]string, 0, 5)
		for _, g := range found[:min(len(found), cap(ids))] {
			ids = append(ids, g.ID)
		}
		return fmt.Errorf("%d gaps have an id that begins with %.40q, among them %s", len(found), id, plain.Line(strings.Join(ids, ", ")))
	})
}

func gapIDs(ctx context.Context, c *client.Client) ([]string, error) {
	list, err := c.Gaps(ctx, client.GapQuery{})
	ids := make([]string, len(list.Gaps))
	for i, g := range list.Gaps {
		ids[i] = g.ID
	}
	return ids, err
}

func (a *app) printGaps(list messages.GapList, states []messages.GapState) {
	p, now := newPalette(a.out), time.Now()
	rows := make([][]string, len(list.Gaps))
	for i, g := range list.Gaps {
		rows[i] = []string{plain.Line(g.ID), p.gap(g.State, plain.Line(string(g.State))), plain.Line(g.Feed), showMicros(g.FromUS), showMicros(g.ToUS), showLack(g.Gap), plain.Line(string(g.Cause)),
			orDash(plain.Line(string(g.Source))), showCount(g.Recovered), showFetched(g.GapRow), plain.Line(gapNote(g.GapRow, now))}
	}
	table(a.out, p, []string{"GAP", "STATE", "FEED", "FROM", "TO", "LACKS>", "CAUSE", "SOURCE", "RECOVERED>", "FETCHED>", "WHY"}, rows)
	total := 0
	for state, n := range list.States {
		if len(states) == 0 || slices.Contains(states, state) {
			total += n
		}
	}
	if more := total - len(rows); more > 0 {
		fmt.Fprintf(a.out, "\n%s more; --feed and --state narrow the list\n", showCount(more))
	}
}

func (a *app) printOffers(offers []messages.GapOffer) {
	rows := make([][]string, len(offers))
	for i, o := range offers {
		rows[i] = []string{plain.Line(string(o.Source)), humanize.IBytes(uint64(max(o.Bytes, 0))), showCount(o.Requests), showCount(o.Events), plain.Line(o.Why)}
		if o.Events == 0 {
			rows[i][3] = "-"
		}
		if o.Why != "" {
			rows[i][1], rows[i][2] = "-", "-"
		}
	}
	table(a.out, newPalette(a.out), []string{"SOURCE", "DOWNLOAD>", "REQUESTS>", "EVENTS AT MOST>", ""}, rows)
}

// gap returns a text in the colour of a gap's state.
func (p palette) gap(s messages.GapState, text string) string {
	switch s {
	case messages.GapRepaired:
		return p.good.Render(text)
	case messages.GapWaiting, messages.GapRepairing, messages.GapPartly:
		return p.busy.Render(text)
	}
	return p.bad.Render(text)
}

// showLack shows how much a gap lacks.
func showLack(g messages.Gap) string {
	switch {
	case g.Event != nil:
		return "1 event"
	case g.FromUS == 0 || g.ToUS == 0:
		return "-"
	}
	return showAge(time.Duration(g.ToUS-g.FromUS) * time.Microsecond)
}

// showFetched shows what was downloaded for a gap, of how much.
func showFetched(g messages.GapRow) string {
	if g.Bytes == 0 && g.Planned == 0 {
		return "-"
	}
	fetched := humanize.IBytes(uint64(max(g.Bytes, 0)))
	if g.Planned <= 0 {
		return fetched
	}
	return fmt.Sprintf("%s, %d %%", fetched, min(100*g.Bytes/g.Planned, 100))
}

// gapNote says why a gap is in its state, until when it waits and what no source could give.
func gapNote(g messages.GapRow, now time.Time) string {
	var parts []string
	if g.Why != "" {
		parts = append(parts, g.Why)
	}
	if g.State == messages.GapWaiting && g.RetryAt.After(now) {
		parts = append(parts, "next attempt in "+showAge(g.RetryAt.Sub(now)))
	}
	if g.Missing != "" {
		parts = append(parts, "missing: "+g.Missing)
	}
	return clip(strings.Join(parts, "; "), 120)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
