package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/internal/atsim"
	"tempestd/internal/jetsim"
)

func (a *app) simulateCommand() *cobra.Command {
	var opt jetsim.Options
	var archive jetsim.ArchiveOptions
	var listen, v1Dictionary string
	var faults, protocols, newer []string
	var served bool
	var hosts, follows int
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Serve a simulated Jetstream, faults included",
		Long: `Simulate serves events that look like the real ones, in shape, size and entropy, as a Jetstream
server does, over both its protocols: live, and replayed from a cursor. It remembers what it sent;
with --history also across its own restart.

Simulators of one --seed, --rate and --began are servers of one network. What makes them differ is
--first-seq, --skew and --lag.

Without --newer it is a server of the older generation. What newer ones do can be had all or one by
one:
  witnessed-at     every v2 event says when the server witnessed it
  future-cursor    v2 says FutureCursor of a sequence number beyond the next one
  outdated-cursor  v2 says OutdatedCursor also of a time before the oldest event there ever was
  leased-seqs      a crash leaves a hole in the sequence numbers, and none is given twice
  exact-times      a time is found to the block of events, not to the segment

With --archive it keeps an archive of its full segments and serves it over HTTP, as v2 servers do.
Its network then has other events, whose CIDs are the hashes of their records.

With --accounts there are also the accounts' own servers, with the records that the network has
then, the directory of their DIDs, a relay that knows who has what, sessions and timelines. One
account, the viewer, has the app password ` + atsim.ViewerPassword + ` and follows the --follows busiest ones. The
addresses and the viewer's DID are at /_sim/network;
POST /_sim/network-fault/NAME makes one of their faults happen:
` + accountFaults() + `

A --fault happens by itself, counted from the first frame that was sent to anyone, or the first
answer of the archive. The flag may be repeated. It is written
  ` + jetsim.FaultSyntax + `
and the faults are:

` + faultHelp(false) + `
With an archive there are these as well. Without a duration, the next answer that they fit suffers
them; with one, all answers for so long:

` + faultHelp(true) + `
Ctrl-C stops it as SIGTERM stops a real server: with close 1001 to everyone.`,
		Example: `  tempestd simulate
  tempestd simulate --rate 2000 --history sim.log
  tempestd simulate --fault close/30s --fault stall@10s:20s --fault crash@1m`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, text := range faults {
				f, err := jetsim.ParseFault(text)
				if err != nil {
					return usageError{err}
				}
				opt.Faults = append(opt.Faults, f)
			}
			var err error
			if opt.Newer, err = jetsim.ParseNewer(newer); err != nil {
				return usageError{fmt.Errorf("--newer: %w", err)}
			}
			if opt.Protocol, err = oneProtocol(protocols); err != nil {
				return usageError{err}
			}
			if c.Flags().Changed("archive-key") || c.Flags().Changed("archive-quota") || served {
				opt.Archive = &archive
			}
			if v1Dictionary != "" {
				if opt.V1Dictionary, err = os.ReadFile(v1Dictionary); err != nil {
					return err
				}
			}
			var around *atsim.Sim
			if hosts > 0 {
				if opt.Archive == nil {
					opt.Archive = &archive // it makes the CIDs those of the records
				}
				if around, err = atsim.New(atsim.Options{Hosts: hosts, Seed: opt.Seed, Clock: clockwork.NewRealClock()}); err != nil {
					return err
				}
				defer around.Close()
				opt.Network = around
			}
			began := time.Now()
			sim, err := jetsim.New(opt)
			if err != nil {
				return err
			}
			if around != nil {
				if _, err := around.Watch(sim.Accounts(follows), began.AddDate(0, -1, 0)); err != nil {
					_ = sim.Close()
					return err
				}
			}
			if err := sim.Listen(listen); err != nil {
				_ = sim.Close()
				return err
			}
			url := sim.URL()
			if opt.Protocol == jetsim.ProtocolV2 {
				url = sim.URLv2()
			}
			fmt.Fprintf(a.err, "simulating %g events/s at %s; Ctrl-C stops\n", opt.Rate, url)
			if around != nil {
				ctx, stop := context.WithCancel(c.Context())
				followed := make(chan struct{})
				go func() {
					defer close(followed)
					if err := sim.Follow(ctx, around.ApplyLine); ctx.Err() == nil && !errors.Is(err, jetsim.ErrClosed) {
						fmt.Fprintf(a.err, "the accounts' servers learn nothing more: %v\n", err)
					}
				}()
				defer func() { stop(); <-followed }()
			}
			a.reportSim(c.Context(), sim)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 5*time.Second)
			defer cancel()
			return sim.Shutdown(ctx)
		},
	}
	flags := c.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:6008", "`address` to listen at")
	flags.Float64Var(&opt.Rate, "rate", 500, "`events` a second")
	flags.Uint64Var(&opt.Seed, "seed", 0, "`seed` of the simulated network: the same one gives the same events (default that of the history, else 1)")
	flags.TimeVar(&opt.Began, "began", time.Time{}, []string{time.RFC3339}, "`time` of the network's first event, where several simulators are of one network (default now)")
	flags.StringVar(&opt.Path, "history", "", "`file` that keeps the history; an existing one is continued")
	flags.StringArrayVar(&faults, "fault", nil, "a `fault` and when it happens; may be repeated")
	flags.StringSliceVar(&protocols, "protocol", []string{"v1", "v2"}, "`protocols` to serve")
	flags.BoolVar(&opt.Legacy, "legacy", false, "behave as the legacy server: v1 alone, no cursor field, unique times")
	flags.BoolVar(&opt.Syncs, "sync-events", false, "have the network send sync events, which v1 never shows")
	flags.StringVar(&v1Dictionary, "v1-dictionary", "", "zstd dictionary `file` of the v1 protocol (default one of its own, at /_sim/v1-dictionary)")
	flags.Int64Var(&opt.FirstSeq, "first-seq", 1, "first sequence `number` of a new history")
	flags.DurationVar(&opt.Skew, "skew", 0, "how far the server's clock is ahead, or behind when negative")
	flags.BoolVar(&opt.NoDate, "no-date", false, "do not tell the server's clock in its answers")
	flags.StringSliceVar(&newer, "newer", nil, "`what` the server does as newer ones do: all, or some of the above")
	flags.IntVar(&opt.Readers, "readers", 1, "`readers` of one archive behind the server's name, that answer in turns")
	flags.BoolVar(&opt.IgnoreSize, "ignore-size", false, "send what is larger than a subscriber asks for")
	flags.Int64Var(&opt.LargeEvery, "large-every", 0, "make one in so many `events` large (0: none)")
	flags.IntVar(&opt.LargeBytes, "large-bytes", 1<<20, "how much larger a large event is, in `bytes`")
	flags.DurationVar(&opt.Lag, "lag", 0, "how much later than the network produced them the server ingests events")
	flags.IntVar(&opt.Segment, "segment", 65_536, "`events` of a segment: what a time as cursor replays in full, and what retention drops at once")
	flags.DurationVar(&opt.Lookback, "lookback", 36*time.Hour, "how far back full segments are served")
	flags.BoolVar(&served, "archive", false, "serve an archive of full segments")
	flags.StringVar(&archive.Key, "archive-key", "", "`key` that calls of the archive need; serves one")
	flags.Int64Var(&archive.Quota, "archive-quota", 0, "`bytes` that may be downloaded from the archive in an hour; serves one")
	flags.IntVar(&hosts, "accounts", 0, "simulate the accounts' servers, directory and relay, with so many `hosts`")
	flags.IntVar(&follows, "follows", 20, "of the network's busiest `accounts`, so many are followed by the account that one can log in as")
	must(c.MarkFlagFilename("history"))
	must(c.MarkFlagFilename("v1-dictionary"))
	must(c.RegisterFlagCompletionFunc("newer", cobra.FixedCompletions(append([]string{"all"}, jetsim.NewerNames()...), cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("fault", cobra.FixedCompletions(jetsim.FaultNames(), cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// oneProtocol returns the protocol if names has only one, or "" for both.
func oneProtocol(names []string) (jetsim.Protocol, error) {
	var p jetsim.Protocol
	for _, name := range names {
		switch named := jetsim.Protocol(name); {
		case named != jetsim.ProtocolV1 && named != jetsim.ProtocolV2:
			return "", fmt.Errorf("--protocol %q: v1, v2 or both are accepted", name)
		case p != "" && p != named:
			return "", nil
		default:
			p = named
		}
	}
	return p, nil
}

// accountFaults lists the faults of accounts' servers, in lines.
func accountFaults() string {
	var b strings.Builder
	width := 0
	for _, f := range atsim.Faults() {
		if width += len(f.Name) + 2; width > 96 || b.Len() == 0 {
			b.WriteString("\n ")
			width = len(f.Name) + 2
		}
		b.WriteString(" " + f.Name)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// faultHelp returns one line for each fault of the sockets, or of the archive.
func faultHelp(archive bool) string {
	var b strings.Builder
	width := len(jetsim.FaultClockAhead)
	if archive {
		width = len(jetsim.FaultUnauthorized)
	}
	for _, f := range jetsim.Faults() {
		if f.Archive != archive {
			continue
		}
		fmt.Fprintf(&b, "  %-*s %s", width, f.Name, f.Effect)
		if f.Default > 0 {
			fmt.Fprintf(&b, " (for %v)", f.Default)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// reportSim prints the simulator's figures every 10 s until ctx ends.
func (a *app) reportSim(ctx context.Context, sim *jetsim.Sim) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s := sim.Stats()
			fmt.Fprintf(a.err, "%s events, %s frames sent, %d subscribers; faults: %s\n", showCount(s.Contents), showCount(s.Frames), s.Subscribers, showFaults(s.Faults))
		}
	}
}
