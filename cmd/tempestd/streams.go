package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/owner"
	"tempestd/internal/plain"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func (a *app) streamsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "streams",
		Short: "List, trim, close and delete streams, and look after their files",
		Long: `List and info show the streams, trim drops their oldest entries, close ends one for good, and
delete removes one that no feed fills any more. Verify looks at every byte that is stored; repair
puts aside what is damaged, so that what is left is whole. The last two are for the store under
data_dir: streams in a Valkey server have its own means.`,
		Example: `  tempestd streams list
  tempestd streams verify
  tempestd streams verify --offline --data-dir /var/lib/tempestd
  tempestd streams repair --dry-run`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, sub := range []*cobra.Command{a.streamsListCommand(), a.streamsInfoCommand(), a.streamsTrimCommand(), a.closeCommand(), a.streamsDeleteCommand(), a.streamsVerifyCommand(), a.streamsRepairCommand()} {
		a.counted(sub)
		c.AddCommand(sub)
	}
	return c
}

// counted makes a command set a.started when its own work begins.
func (a *app) counted(c *cobra.Command) {
	work := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		a.started = true
		return work(c, args)
	}
}

// errDamaged is the result of a command that found damage.
type errDamaged struct{ message string }

func (e *errDamaged) Error() string { return e.message }

func (a *app) streamsVerifyCommand() *cobra.Command {
	var offline, asJSON bool
	var stream, dataDir string
	var rate int
	c := &cobra.Command{
		Use:   "verify",
		Short: "Look at every byte that is stored",
		Long: `Verify reads all that is stored and compares it with its checksums: the head and the body of every
block, the order of the IDs, the chain from block to block and from segment to segment, the counts,
the segments' footers, the high-water mark, the register of the streams and the state beside them.
It changes nothing. Each thing that is wrong is named: the file, the offset, the block, what is
wrong, what is lost by it, and what a repair would do.

It asks the running daemon, which reads no faster than --rate so that its feeds do not wait. With
--offline it reads the data directory itself and holds its lock; the daemon must be stopped then.

--json prints a line for each finding, {"finding":{…}}, and one at the end, {"verified":{…}}.

Exit codes: 0 all is well, 1 something is wrong or could not be looked at, 2 the command line or
the configuration is wrong.`,
		Example: `  tempestd streams verify
  tempestd streams verify --stream bluesky --json
  tempestd streams verify --offline -c /etc/tempestd/config.toml`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			if rate < 0 || rate > 4096 {
				return usage("--rate: got %d; accepted: 1 to 4096 MiB a second, 0 for the default", rate)
			}
			if stream != "" {
				if err := persistence.CheckName(stream); err != nil {
					return usage("--stream: %w", err)
				}
			}
			p := &meter{w: a.err}
			printer := &findings{app: a, meter: p, json: asJSON}
			done, err := a.verify(c, offline || dataDir != "", dataDir, stream, rate, printer.print, p.verify)
			p.clear()
			if err != nil {
				return err
			}
			return printer.end(done)
		},
	}
	a.clientFlags(c)
	a.dataDirFlag(c, &dataDir)
	c.Flags().BoolVar(&offline, "offline", false, "read the data directory itself, which no daemon may use meanwhile")
	c.Flags().StringVar(&stream, "stream", "", "`name` of the only stream to look at")
	c.Flags().IntVar(&rate, "rate", 0, "read up to so many `MiB` a second (default 64, offline no bound)")
	jsonFlag(c, &asJSON)
	must(c.RegisterFlagCompletionFunc("stream", a.completeNames(streamNames)))
	return c
}

// dataDirFlag adds --data-dir.
func (a *app) dataDirFlag(c *cobra.Command, dataDir *string) {
	c.Flags().StringVar(dataDir, "data-dir", "", "`directory` of the daemon's data (default data_dir of the configuration)")
	must(c.MarkFlagDirname("data-dir"))
}

// dataDir returns the directory of the daemon's data: given, or the configuration's if given is "".
func (a *app) dataDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	return filepath.Abs(cfg.DataDir)
}

// inDataDir does something in the data directory while no daemon runs. What root makes there is the
// daemon's user's afterwards, who could not open it otherwise.
func inDataDir(dir string, do func() error) (err error) {
	was := owner.Of(dir)
	defer func() { err = errors.Join(err, was.Give()) }()
	return do()
}

// storeDir is the store's directory inside the data directory.
const storeDir = "store"

// verify asks the daemon to verify the store or, offline, verifies it itself.
func (a *app) verify(c *cobra.Command, offline bool, dataDir, stream string, rate int, found func(persistence.Finding),
	progress func(persistence.VerifyProgress)) (done persistence.Verified, err error) {
	if offline {
		dir, err := a.dataDir(dataDir)
		if err != nil {
			return done, err
		}
		err = inDataDir(dir, func() error {
			done, err = embedded.VerifyDir(c.Context(), filepath.Join(dir, storeDir), persistence.VerifyOptions{
				Stream: stream, BytesPerSecond: int64(rate) << 20, Found: found, Progress: progress,
			})
			return err
		})
		return done, held(err, "leave out --offline to ask it, or stop it first")
	}
	err = a.withClient(func(daemon *client.Client) error {
		done, err = daemon.Verify(c.Context(), stream, rate, found, progress)
		return err
	})
	return done, noDaemon(err)
}

// held adds advice to an error about a data directory that a daemon has locked.
func held(err error, what string) error {
	if errors.Is(err, persistence.ErrLocked) {
		return fmt.Errorf("%w: a daemon is running there; %s", err, what)
	}
	return err
}

// noDaemon adds advice to an error about a missing daemon.
func noDaemon(err error) error {
	if errors.Is(err, client.ErrNoDaemon) {
		return fmt.Errorf("%w --offline needs none", err)
	}
	return err
}

// findings prints the findings of a verification.
type findings struct {
	app   *app
	meter *meter
	json  bool
	err   error
}

func (f *findings) print(found persistence.Finding) {
	f.meter.clear()
	if f.json {
		f.err = errors.Join(f.err, printJSON(f.app.out, map[string]any{"finding": found}))
		return
	}
	fmt.Fprint(f.app.out, showFinding(&found))
}

// end prints a summary, and returns an error if there is damage.
func (f *findings) end(done persistence.Verified) error {
	if f.json {
		f.err = errors.Join(f.err, printJSON(f.app.out, map[string]any{"verified": done}))
	} else {
		known := ""
		if done.KnownLost > 0 {
			known = fmt.Sprintf("; lost before: %s, of which readers are told", plural(done.KnownLost, "entry"))
		}
		fmt.Fprintf(f.app.out, "%s, %s, %s, %s, %s read%s\n", plural(done.Streams, "stream"), plural(done.Segments, "segment"), plural(done.Blocks, "block"),
			plural(done.Entries, "entry"), humanize.IBytes(uint64(done.Bytes)), known)
	}
	if f.err == nil && done.Damaged > 0 {
		return &errDamaged{fmt.Sprintf("found %s, with %s lost; tempestd streams repair mends that, while no daemon runs",
			plural(done.Damaged, "fault"), plural(done.Lost, "entry"))}
	}
	return f.err
}

// plural returns a number with its noun.
func plural[T int | int64 | uint64](n T, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		one = stem + "ie"
	}
	return showCount(n) + " " + one + "s"
}

// showFinding returns a finding in a readable form.
func showFinding(f *persistence.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", plain.Line(f.File))
	if f.Offset > 0 || f.Length > 0 {
		fmt.Fprintf(&b, " at %d", f.Offset)
	}
	if f.Length > 0 {
		fmt.Fprintf(&b, " (%d bytes)", f.Length)
	}
	if f.Block > 0 {
		fmt.Fprintf(&b, ", block %d", f.Block)
	}
	fmt.Fprintf(&b, ": %s\n", plain.Line(f.Fault))
	if f.Lost != nil {
		fmt.Fprintf(&b, "  lost: %s\n", showLoss(f.Lost))
	}
	fmt.Fprintf(&b, "  to be done: %s\n", plain.Line(f.Remedy))
	return b.String()
}

func showLoss(l *persistence.Loss) string {
	entries := "an unknown number of entries"
	if l.Entries > 0 {
		entries = plural(l.Entries, "entry")
	}
	const layout = "2006-01-02 15:04:05.000"
	return fmt.Sprintf("%s, %s to %s, of %s to %s UTC", entries, l.First, l.Last, l.From.Format(layout), l.To.Format(layout))
}

// meter is a line on a terminal that is overwritten repeatedly. It shows nothing if the output is
// no terminal.
type meter struct {
	w     io.Writer
	shown bool
}

func (p *meter) verify(v persistence.VerifyProgress) {
	share := 100.0
	if v.OfBytes > 0 {
		share = 100 * float64(v.Bytes) / float64(v.OfBytes)
	}
	p.show(fmt.Sprintf("%s: %d of %d segments, %s of %s, %.0f %%", plain.Line(v.Stream), v.Segments, v.Of, humanize.IBytes(uint64(v.Bytes)), humanize.IBytes(uint64(v.OfBytes)), share))
}

func (p *meter) show(line string) {
	if !isTerminal(p.w) {
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s", fit(line, width(p.w)-1))
}

func (p *meter) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
