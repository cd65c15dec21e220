package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"tempestd/internal/plain"
	"tempestd/persistence/embedded"
)

func (a *app) streamsRepairCommand() *cobra.Command {
	var asJSON, dry bool
	var dataDir string
	c := &cobra.Command{
		Use:   "repair",
		Short: "Put aside what is damaged, and say what is lost",
		Long: `Repair does what verify says is to be done. It moves what is damaged to aside/ in the store, and
overwrites and deletes nothing; it keeps what is good, makes anew what follows from the rest, and
says what is lost: which entries, of when, how many. What is lost within a stream becomes a gap
entry at its end. What is lost at its end is asked for again when the daemon starts, and becomes a
gap where the upstream cannot send it.

The daemon must be stopped: the data directory's lock is held meanwhile. It may be repeated after
it was cut short.

--json prints one document: {"findings":[…],"done":[{"stream":…,"file":…,"aside":…,"what":…}],
"lost":[{"stream":…,"first":…,"last":…,"entries":n,"from":…,"to":…,"gap":…,"note":…}],
"remaining":[…],"verified":{…}}.

Exit codes: 0 nothing is wrong any more, 1 something is, or could not be repaired, and with
--dry-run something is wrong, 2 the command line or the configuration is wrong.`,
		Example: `  tempestd streams repair --dry-run
  tempestd streams repair --data-dir /var/lib/tempestd`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dataDir(dataDir)
			if err != nil {
				return err
			}
			p := &meter{w: a.err}
			var done embedded.Repaired
			err = inDataDir(dir, func() error {
				done, err = embedded.RepairDir(c.Context(), filepath.Join(dir, storeDir), embedded.RepairOptions{DryRun: dry, Progress: p.verify})
				return err
			})
			p.clear()
			if err != nil {
				return held(err, "stop it first (systemctl stop tempestd), then repair, then start it again")
			}
			if asJSON {
				err = printJSON(a.out, done)
			} else {
				a.printRepair(&done)
			}
			wrong := len(done.Remaining)
			if dry {
				wrong = len(done.Findings)
			}
			if err == nil && wrong > 0 {
				err = &errDamaged{"found " + plural(wrong, "fault")}
			}
			return err
		},
	}
	a.configFlag(c)
	a.dataDirFlag(c, &dataDir)
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what is wrong and what would be done")
	jsonFlag(c, &asJSON)
	return c
}

// printRepair prints in a readable form what was found and what was done.
func (a *app) printRepair(done *embedded.Repaired) {
	if len(done.Findings) == 0 {
		fmt.Fprintln(a.out, "nothing is wrong")
		return
	}
	for i := range done.Findings {
		fmt.Fprint(a.out, showFinding(&done.Findings[i]))
	}
	for _, s := range done.Done {
		aside := ""
		if s.Aside != "" {
			aside = "; as it was it is " + s.Aside
		}
		fmt.Fprintf(a.out, "%s: %s%s\n", plain.Line(s.File), s.What, plain.Line(aside))
	}
	for i := range done.Lost {
		l := &done.Lost[i]
		how := l.Note
		switch {
		case l.Gap != nil:
			how = "the gap entry " + l.Gap.String() + " tells of it"
		case done.DryRun && !l.AtEnd:
			how = "a gap entry would tell of it"
		}
		fmt.Fprintf(a.out, "stream %s: lost %s; %s\n", plain.Line(l.Stream), showLoss(&l.Loss), plain.Line(how))
	}
	for i := range done.Remaining {
		fmt.Fprintf(a.out, "still wrong: %s", showFinding(&done.Remaining[i]))
	}
}
