package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/demo"
	"tempestd/internal/plain"
)

// errNotExact means that the demo's stream is not what was sent.
var errNotExact = errors.New("the stream is not what was sent")

// leastForGap is the shortest demo that ends with a gap.
const leastForGap = 20 * time.Second

func (a *app) demoCommand() *cobra.Command {
	var opt demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show everything at work, and prove that nothing is lost",
		Long: `Demo starts a simulated Jetstream on loopback, a daemon on a temporary directory and a consumer,
and shows them at work. With --faults it breaks things while you watch: garbage between the
events, a server that closes, a connection cut in the middle of a frame, a crash after which the
server numbers its last events anew, a connection that is half open, and one that goes silent.
With 20s or more there is a last act: an outage that is longer than the server remembers leaves a
gap, which is closed from the server's archive while you watch.

At the end the stream is read back over HTTP and compared with what the simulator sent, event by
event. The exit code is 0 only if it holds all of it, once and in order. Ctrl-C ends the flow of
events early; what was sent until then is compared. Nothing is left behind, and nothing outside
this machine is contacted.`,
		Example: `  tempestd demo
  tempestd demo --for 20s --faults
  tempestd demo --for 1m --rate 5000 --faults > result.txt`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			if opt.For < time.Second || opt.Rate <= 0 {
				return usage("got --for %v and --rate %v; want 1s or more, and more than 0 events a second", opt.For, opt.Rate)
			}
			opt.Gap = opt.Faults && opt.For >= leastForGap
			if missed := demo.Missed(opt.For); opt.Faults && len(missed) > 0 {
				fmt.Fprintf(a.err, "--for %v leaves no time for: %s\n", opt.For, strings.Join(missed, ", "))
			}
			result, err := a.runDemo(c.Context(), opt)
			if err != nil {
				return err
			}
			return a.printResult(result)
		},
	}
	flags := c.Flags()
	flags.DurationVar(&opt.For, "for", 20*time.Second, "how long events flow, as in `30s`; at least 1s")
	flags.Float64Var(&opt.Rate, "rate", 500, "`events` a second, more than 0")
	flags.Uint64Var(&opt.Seed, "seed", 0, "`seed` of the simulated network")
	flags.BoolVar(&opt.Faults, "faults", false, "break things")
	return c
}

// runDemo shows the demo: on a terminal as a live view, elsewhere as one line per second and one
// line for each log event of the daemon.
func (a *app) runDemo(ctx context.Context, opt demo.Options) (demo.Result, error) {
	if !isTerminal(a.err) {
		opt.Log = func(line string) { fmt.Fprintln(a.err, "  "+plain.Line(line)) }
		opt.Watch = newProgress(a.err).show
		return demo.Run(ctx, opt)
	}
	view := newDemoView(a.err, opt)
	opt.Log = func(string) {}
	opt.Watch = func(s demo.Snapshot) { fmt.Fprint(a.err, clearScreen, view.render(s, width(a.err))) }
	return demo.Run(ctx, opt)
}

// printResult prints the comparison to standard output, and the rest to standard error.
func (a *app) printResult(r demo.Result) error {
	fmt.Fprintln(a.out, r.Report)
	fmt.Fprintf(a.err, "faults: %s\n", showFaults(r.Faults))
	f := r.Feed
	fmt.Fprintf(a.err, "reconnects=%d stalls=%d restarts=%d replayed_and_dropped=%d bad_frames=%d\n", f.Reconnects, f.Stalls, f.Restarts, f.Duplicates, f.Bad)
	for _, example := range r.Report.Examples[:min(3, len(r.Report.Examples))] {
		fmt.Fprintln(a.err, plain.Line(example))
	}
	if !r.Report.OK() || r.Report.Stored == 0 {
		return errNotExact
	}
	return nil
}
