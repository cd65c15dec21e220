package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/jetstream"
	"tempestd/internal/plain"
	"tempestd/messages"
	"tempestd/persistence"
)

// These bound the reading over HTTP.
const (
	pageSize   = 1000             // most entries per request
	waitBlock  = 25 * time.Second // how long a request waits when tail follows
	retryFirst = 250 * time.Millisecond
	retryMost  = 5 * time.Second
	maxLast    = 1_000_000 // the most that -n accepts without a position
)

// tail is one run of the command.
type tail struct {
	app    *app
	client *client.Client
	stream string
	after  string // the exclusive cursor
	limit  int    // most entries to print; -1 for no limit
	follow bool
	until  time.Time // no entry of this time or later is printed; zero for no end
	filter messages.ConsumerFilter
	out    *bufio.Writer
	print  func(persistence.Entry) error

	toldWait bool // it was said what the tail waits for

	line []byte // the buffer of printJSON
}

func (a *app) tailCommand() *cobra.Command {
	var after string
	since, until := moment{now: time.Now}, moment{now: time.Now}
	var fromStart, follow, asJSON bool
	var count int
	var filter messages.ConsumerFilter
	var unrepaired bool
	c := &cobra.Command{
		Use:   "tail <stream>",
		Short: "Print a stream, from anywhere, and follow it",
		Long: `Tail prints entries of a stream from a running daemon, in order. Without a position it begins with
the last 10, or -n of them; --after, --since and --from-start begin elsewhere and print what
follows, at most -n if that is given. -f goes on with what comes, until Ctrl-C (exit code 130, as
tail -f). --until ends before a time. Both times are a duration back from now (10m, 7d), today,
yesterday, a day, or a time such as 2026-11-01T15:00:00Z, and mean the times of the entries' IDs.

On a terminal an entry is a readable line. In a pipe, or with --json, it is
{"id":"<ms>-<seq>","event":{…}}, the event exactly as the upstream sent it; the id of the last one
is the --after to go on with. A following tail survives a restart of the daemon: it goes on after
the last entry it printed, and nothing is missed or repeated. It says what it waits for while the
stream's feed is not live.

--collection, --did and --kind print only some entries; the daemon leaves the others out. Gaps are
always printed, unless --kind names other kinds only. Events that were fetched to close a gap stand
behind what was stored when they came, and have a member "repair"; --without-repaired leaves them
out.`,
		Example: `  tempestd tail bluesky -f
  tempestd tail bluesky --since 10m | jq -r .event.did
  tempestd tail bluesky --since yesterday --until today > yesterday.jsonl
  tempestd tail bluesky --from-start -n 1000 > first.jsonl
  tempestd tail bluesky --after 1795327636563-30000 -f
  tempestd tail bluesky -f --collection app.bsky.feed.post --did did:plc:ewvi7nxzyoun6zhxrhs64oiz`,
		Args:              exactly("the name of a stream"),
		ValidArgsFunction: a.completeNames(streamNames),
		RunE: func(c *cobra.Command, args []string) error {
			if errs := jetstream.ValidateReader(jetstream.Filter{Collections: filter.Collections, DIDs: filter.DIDs, Kinds: filter.Kinds}); len(errs) > 0 {
				return usage("--collection, --did, --kind: %w", errors.Join(errs...))
			}
			excludeRepaired(&filter, unrepaired)
			t := &tail{app: a, stream: args[0], follow: follow, until: until.at, limit: -1, filter: filter, out: bufio.NewWriterSize(a.out, 64<<10)}
			counted := c.Flags().Changed("lines")
			if count < 0 || count > maxLast {
				return usage("-n: got %d; want 0 to %d", count, maxLast)
			}
			last := count
			switch {
			case c.Flags().Changed("after"):
				id, err := messages.ParseEntryID(after)
				if err != nil {
					return usage("--after: %w; want the id of an entry, or 0-0 for the beginning", err)
				}
				t.after, last = id.String(), -1
			case c.Flags().Changed("since"):
				t.after, last = persistence.CursorSince(since.at).String(), -1
			case fromStart:
				t.after, last = persistence.FromBeginning().String(), -1
			}
			if last < 0 && counted {
				t.limit = count
			}
			t.print = t.printJSON
			if !asJSON && isTerminal(a.out) {
				t.print = newReader(a.out, t.out).print
			}
			return a.withClient(func(daemon *client.Client) error {
				t.client = daemon
				return t.run(c.Context(), last)
			})
		},
	}
	flags := c.Flags()
	flags.StringVar(&after, "after", "", "begin after the entry with this `id`; 0-0 is the beginning")
	flags.Var(&since, "since", "begin at this `time`: 10m or 7d ago, yesterday, 2026-11-01T15:00:00Z")
	flags.Var(&until, "until", "end before this `time`, in the same forms")
	flags.BoolVar(&fromStart, "from-start", false, "begin with the oldest entry")
	flags.IntVarP(&count, "lines", "n", 10, "`count` of entries, up to 1000000: the last so many, or at most so many after a position")
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	flags.BoolVar(&asJSON, "json", false, "print JSON lines on a terminal as well")
	flags.StringSliceVar(&filter.Collections, "collection", nil, "only commits of this `NSID`, or of all below it: app.bsky.feed.*; may be repeated")
	flags.StringSliceVar(&filter.DIDs, "did", nil, "only events of this account's `DID`; may be repeated")
	flags.StringSliceVar(&filter.Kinds, "kind", nil, "only `kind`s of commit, identity, account, sync, gap; may be repeated")
	withoutRepairedFlag(c, &unrepaired)
	c.MarkFlagsMutuallyExclusive("after", "since", "from-start")
	a.clientFlags(c)
	return c
}

// run prints the last entries, or the entries after the position if last is negative. With --follow
// it then prints new entries.
func (t *tail) run(ctx context.Context, last int) error {
	err := t.start(ctx, last)
	if err == nil && t.limit != 0 && (last < 0 || t.follow) {
		err = t.read(ctx)
	}
	return errors.Join(err, t.out.Flush())
}

// start checks that the stream exists and, without a position, prints the last entries.
func (t *tail) start(ctx context.Context, last int) error {
	info, err := t.client.Stream(ctx, t.stream)
	if err != nil || last < 0 {
		return err
	}
	frames, err := t.last(ctx, info, last)
	if err != nil {
		return err
	}
	t.after = persistence.FromBeginning().String()
	if info.Newest != nil {
		t.after = info.Newest.String()
	}
	return t.write(frames)
}

// read prints the entries after the cursor: to the end of the stream or, with --follow, until the
// stream is closed.
func (t *tail) read(ctx context.Context) error {
	lost, pause := false, retryFirst
	idle := true // nothing came the last time
	for t.limit != 0 {
		block := time.Duration(0)
		if t.follow && !lost {
			block = t.block(time.Now())
		}
		if block > 0 && idle {
			t.tellWait(ctx)
		}
		limit := pageSize
		if t.limit > 0 {
			limit = min(limit, t.limit)
		}
		frames, err := t.client.Tail(ctx, t.stream, t.after, block, limit, t.filter)
		if t.follow && gone(err) && ctx.Err() == nil {
			if !lost {
				fmt.Fprintf(t.app.err, "%s\nwaiting for it …\n", plain.Line(err.Error()))
			}
			lost = true
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
			pause = min(2*pause, retryMost)
			continue
		}
		if err != nil {
			return t.explain(err)
		}
		if lost {
			fmt.Fprintf(t.app.err, "the daemon is back; going on after %s\n", t.after)
			lost, pause = false, retryFirst
		}
		idle = len(frames.Entries) == 0
		within := t.before(frames.Entries)
		if err := t.write(within); err != nil {
			return err
		}
		t.after = frames.Cursor.String()
		switch {
		case len(within) < len(frames.Entries), frames.Behind == 0 && t.isOver(time.Now()):
			return nil
		case frames.Behind > 0:
		case frames.IsClosed():
			fmt.Fprintf(t.app.err, "stream %s is closed: %s\n", t.stream, plain.Line(frames.ClosedReason))
			return nil
		case !t.follow:
			return nil
		}
	}
	return nil
}

// before returns the entries up to the end.
func (t *tail) before(all []persistence.Entry) []persistence.Entry {
	if t.until.IsZero() {
		return all
	}
	end := uint64(max(t.until.UnixMilli(), 0))
	if i := slices.IndexFunc(all, func(e persistence.Entry) bool { return e.ID.MS >= end }); i >= 0 {
		return all[:i]
	}
	return all
}

// isOver says whether no entry can come that is to be printed.
func (t *tail) isOver(now time.Time) bool { return !t.until.IsZero() && !now.Before(t.until) }

// block is how long a request of a following tail waits.
func (t *tail) block(now time.Time) time.Duration {
	if t.until.IsZero() {
		return waitBlock
	}
	return min(waitBlock, max(t.until.Sub(now), 0))
}

// explain adds what a user can do about an error.
func (t *tail) explain(err error) error {
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		return fmt.Errorf("what came after %s is not kept any more: the stream's retention has dropped entries; --after %s begins with the oldest that is left", t.after, expired.Oldest)
	}
	return err
}

// write prints frames and moves the cursor behind them.
func (t *tail) write(frames []persistence.Entry) error {
	for _, f := range frames {
		if err := t.print(f); err != nil {
			return err
		}
		t.after = f.ID.String()
		if t.limit > 0 {
			t.limit--
		}
	}
	return t.out.Flush()
}

// last returns the newest n entries of the stream that info describes. The API reads only forwards.
// So last guesses from the stream's rate how far back it must begin, and begins earlier if that was
// not far enough.
func (t *tail) last(ctx context.Context, info persistence.StreamInfo, n int) ([]persistence.Entry, error) {
	if n == 0 || info.Newest == nil || info.Oldest == nil {
		return nil, nil
	}
	end := *info.Newest
	if before := uint64(max(t.until.UnixMilli(), 0)); !t.until.IsZero() && before <= end.MS {
		if before <= info.Oldest.MS {
			return nil, nil
		}
		end = messages.EntryID{MS: before - 1, Seq: math.MaxUint64}
	}
	span := end.MS - info.Oldest.MS
	back := max(100, uint64(2*float64(span)*float64(n)/float64(max(info.Entries, 1)))) // ms
	for {
		from := info.Oldest.MS
		if back < span {
			from = end.MS - back
		}
		frames, err := t.newest(ctx, persistence.CursorSince(time.UnixMilli(int64(from))).String(), end, n)
		if err != nil || len(frames) >= n || back >= span {
			return frames, err
		}
		back *= 4
	}
}

// newest reads from the cursor up to the entry end and returns the last n entries.
func (t *tail) newest(ctx context.Context, after string, end messages.EntryID, n int) ([]persistence.Entry, error) {
	var kept []persistence.Entry
	newest := func() []persistence.Entry { return kept[max(len(kept)-n, 0):] }
	for {
		page, err := t.client.Tail(ctx, t.stream, after, 0, pageSize, t.filter)
		if err != nil {
			return nil, err
		}
		for _, f := range page.Entries {
			if f.ID.Compare(end) > 0 {
				return newest(), nil
			}
			kept = append(kept, f)
		}
		after = page.Cursor.String()
		kept = append(kept[:0], newest()...)
		if page.Behind == 0 || page.Cursor.Compare(end) >= 0 {
			return kept, nil
		}
	}
}
