package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/plain"
	"tempestd/messages"
	"tempestd/persistence"
)

// status is the daemon's answer about its state.
type status struct {
	Ready     messages.Readiness        `json:"ready"`
	Feeds     []messages.FeedStatus     `json:"feeds"`
	Streams   []persistence.StreamInfo  `json:"streams"`
	Consumers []messages.ConsumerStatus `json:"consumers"`
}

const clearScreen = "\x1b[H\x1b[2J"

func (a *app) statusCommand() *cobra.Command {
	var watch, asJSON bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the feeds, streams and consumers of a running daemon",
		Long: `Status shows every feed, its state and what it has done since the daemon started, every stream
that is stored, and their named consumers.

SINCE is for how long a feed has been live, or away: since it was last connected, however often it
tried since then. LAG is the time from an event's upstream time to its storage. DUPS are events
that came again and were dropped, RECONN the connections after the first, RESTARTS the actors
restarted because of a fault, GAPS the losses recorded in the stream. Where daemons share their
streams, OWNER is the one that reads the feed, EPOCH how often it has had an owner, STANDBYS the
others that may.

With --watch it is shown anew until Ctrl-C, which is its good end; a daemon that goes away is
waited for.`,
		Example: `  tempestd status
  tempestd status --watch
  tempestd status --json | jq '.feeds[] | {feed, state, lag_ms}'`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withClient(func(daemon *client.Client) error {
				if watch {
					return a.watchStatus(c.Context(), daemon, every, asJSON)
				}
				s, err := fetchStatus(c.Context(), daemon)
				if err != nil {
					return err
				}
				return a.printStatus(a.out, s, asJSON)
			})
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew until Ctrl-C")
	c.Flags().DurationVar(&every, "interval", time.Second, "with --watch: how often, as in `2s`; at least 100ms")
	jsonFlag(c, &asJSON)
	a.clientFlags(c)
	return c
}

func fetchStatus(ctx context.Context, c *client.Client) (s status, err error) {
	if s.Feeds, err = c.Feeds(ctx); err != nil {
		return s, err
	}
	if s.Streams, err = c.Streams(ctx); err != nil {
		return s, err
	}
	for _, stream := range s.Streams {
		all, err := c.Consumers(ctx, stream.Name)
		if err != nil {
			return s, err
		}
		s.Consumers = append(s.Consumers, all...)
	}
	s.Ready, err = c.Ready(ctx)
	return s, err
}

// watchStatus shows the status repeatedly. On a terminal each status replaces the one before.
func (a *app) watchStatus(ctx context.Context, c *client.Client, every time.Duration, asJSON bool) error {
	if every < 100*time.Millisecond {
		return usage("--interval: got %v; want 100ms or more", every)
	}
	screen := isTerminal(a.out) && !asJSON
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		s, err := fetchStatus(ctx, c)
		var page strings.Builder
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			_ = a.printStatus(&page, s, asJSON) // a strings.Builder does not fail
		case !gone(err):
			return err
		case screen:
			fmt.Fprintf(&page, "%s\nwaiting for it …\n", plain.Line(err.Error()))
		default:
			fmt.Fprintln(a.err, plain.Line(err.Error()))
		}
		if screen {
			fmt.Fprint(a.out, clearScreen, fit(page.String(), width(a.out)))
		} else if _, err := fmt.Fprint(a.out, page.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !screen && !asJSON {
			fmt.Fprintln(a.out)
		}
	}
}

// printStatus writes one status to w, in the colours of standard output.
func (a *app) printStatus(w io.Writer, s status, asJSON bool) error {
	if asJSON {
		return printJSON(w, s)
	}
	p := newPalette(a.out)
	now := time.Now()
	var rows [][]string
	var notes []string
	for _, f := range s.Feeds {
		rows = append(rows, []string{plain.Line(f.Feed), p.state(f.State), showAge(now.Sub(since(f))), fmt.Sprintf("%.1f", f.EventsPerSec), showLag(f),
			showCount(f.Stored), showCount(f.Duplicates), showCount(f.Reconnects), showCount(f.Restarts), showCount(f.Gaps), showMicros(f.Position.TimeUS)})
		if note := feedNote(f, now); note != "" {
			notes = append(notes, f.Feed+": "+note)
		}
		if f.Follows != nil {
			notes = append(notes, f.Feed+": "+accountNote(f.Follows, now))
		}
	}
	table(w, p, []string{"FEED", "STATE", "SINCE>", "EV/S>", "LAG>", "STORED>", "DUPS>", "RECONN>", "RESTARTS>", "GAPS>", "POSITION"}, rows)
	fmt.Fprintln(w)
	rows = nil
	for _, stream := range s.Streams {
		rows = append(rows, []string{plain.Line(stream.Name), showCount(stream.Entries), humanize.IBytes(uint64(max(stream.Bytes, 0))), showID(stream.Oldest), showID(stream.Newest), closedNote(stream)})
	}
	table(w, p, []string{"STREAM", "ENTRIES>", "SIZE>", "OLDEST", "NEWEST", ""}, rows)
	if rows := ownerRows(s.Feeds); len(rows) > 0 {
		fmt.Fprintln(w)
		table(w, p, []string{"FEED", "OWNER", "EPOCH>", "STANDBYS"}, rows)
	}
	if len(s.Consumers) > 0 {
		fmt.Fprintln(w)
		table(w, p, consumerColumns(), consumerRows(s.Consumers, now))
	}
	if !s.Ready.Ready {
		notes = append(notes, "not ready: "+strings.Join(s.Ready.Reasons, "; "))
	}
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range notes {
		fmt.Fprintln(w, p.busy.Render(plain.Line(note)))
	}
	return nil
}

// ownerRows returns a row for each feed that daemons share, with its owner. It returns none if the
// daemon shares no feed.
func ownerRows(feeds []messages.FeedStatus) (rows [][]string) {
	for _, f := range feeds {
		if f.Fence == 0 && f.State != messages.StateStandby {
			continue
		}
		owner := "-"
		if f.Owner != "" {
			owner = plain.Line(f.Owner)
		}
		rows = append(rows, []string{plain.Line(f.Feed), owner, fmt.Sprint(f.Fence), plain.Line(strings.Join(f.Standbys, ", "))})
	}
	return rows
}

// since is when a feed began to be as it is: live, or not. The attempts of a feed that is away do not
// count.
func since(f messages.FeedStatus) time.Time {
	if f.AwaySince != nil {
		return *f.AwaySince
	}
	return f.Since
}

// feedNote says why a feed is not live and what happens next, and how far it has come with its
// history. It is "" for a live feed.
func feedNote(f messages.FeedStatus, now time.Time) string {
	if f.State == messages.StateLive && f.Fill == nil {
		return ""
	}
	var parts []string
	if f.Reason != "" {
		parts = append(parts, f.Reason)
	}
	if f.Fill != nil {
		parts = append(parts, fillNote(f.Fill))
	}
	if f.NextAttemptAt != nil && f.NextAttemptAt.After(now) {
		parts = append(parts, "next attempt in "+showAge(f.NextAttemptAt.Sub(now)))
	}
	return strings.Join(parts, "; ")
}

// accountNote says how the account of a feed stands.
func accountNote(f *messages.FollowStatus, now time.Time) string {
	note := "account " + f.Account
	if !f.RefreshedAt.IsZero() {
		note += fmt.Sprintf(" follows %s accounts, read %s ago", showCount(f.Follows), showAge(now.Sub(f.RefreshedAt)))
	}
	if f.Trouble != "" {
		note += fmt.Sprintf("; they cannot be read since %s: %s", showAge(now.Sub(f.Since)), f.Trouble)
	}
	if f.SessionTrouble != "" {
		note += fmt.Sprintf("; no session since %s: %s", showAge(now.Sub(f.SessionSince)), f.SessionTrouble)
		if f.NextLoginAt.After(now) {
			note += "; next login in " + showAge(f.NextLoginAt.Sub(now))
		}
	}
	return note
}

// fillNote says how far a feed has come with the history that it begins with.
func fillNote(f *messages.FillStatus) string {
	note := fmt.Sprintf("history from the %s: %s events at %s/s", f.Source, showCount(f.Events), showCount(int64(f.EventsPerSec)))
	if f.PlannedBytes > 0 {
		note += fmt.Sprintf(", %s of %s", humanize.IBytes(uint64(f.Bytes)), humanize.IBytes(uint64(f.PlannedBytes)))
	}
	if f.ETASeconds > 0 {
		note += ", " + showAge(time.Duration(f.ETASeconds)*time.Second) + " left"
	}
	return note
}

func closedNote(s persistence.StreamInfo) string {
	if s.ClosedAt == nil {
		return ""
	}
	return "closed: " + plain.Line(s.ClosedReason)
}

// showLag shows the lag of a feed's newest stored event at its arrival.
func showLag(f messages.FeedStatus) string {
	if f.Position.TimeUS == 0 {
		return "-"
	}
	return showAge(time.Duration(f.LagMS) * time.Millisecond)
}

// showMicros is an upstream time.
func showMicros(us int64) string {
	if us == 0 {
		return "-"
	}
	return time.UnixMicro(us).UTC().Format(time.DateTime + "Z")
}

// showID shows an entry's ID as its time.
func showID(id *messages.EntryID) string {
	if id == nil {
		return "-"
	}
	return showMicros(int64(id.MS) * 1000)
}
