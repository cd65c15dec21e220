package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/jetsim"
)

func (a *app) simulateCommand() *cobra.Command {
	var opt jetsim.Options
	var listen string
	var faults []string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Serve a simulated Jetstream, faults included",
		Long: `Simulate serves events that look like the real ones, in shape, size and entropy, on /subscribe, as
a Jetstream server does: live, and replayed from a cursor. It remembers what it sent; with
--history also across its own restart.

A --fault happens by itself, counted from the first frame that was sent to anyone. The flag may be
repeated. It is written
  ` + jetsim.FaultSyntax + `
and the faults are:

` + faultHelp() + `
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
			sim, err := jetsim.New(opt)
			if err != nil {
				return err
			}
			if err := sim.Listen(listen); err != nil {
				_ = sim.Close()
				return err
			}
			fmt.Fprintf(a.err, "simulating %g events/s at %s; Ctrl-C stops\n", opt.Rate, sim.URL())
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
	flags.StringVar(&opt.Path, "history", "", "`file` that keeps the history; an existing one is continued")
	flags.StringArrayVar(&faults, "fault", nil, "a `fault` and when it happens; may be repeated")
	flags.BoolVar(&opt.Legacy, "legacy", false, "behave as the legacy server: no cursor field, unique times")
	must(c.MarkFlagFilename("history"))
	must(c.RegisterFlagCompletionFunc("fault", cobra.FixedCompletions(jetsim.FaultNames(), cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// faultHelp is a line for each fault.
func faultHelp() string {
	var b strings.Builder
	for _, f := range jetsim.Faults() {
		fmt.Fprintf(&b, "  %-10s %s", f.Name, f.Effect)
		if f.Default > 0 {
			fmt.Fprintf(&b, " (for %v)", f.Default)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// reportSim says once in a while how the simulator does, until ctx ends.
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
