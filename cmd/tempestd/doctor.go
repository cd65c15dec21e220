package main

import (
	"errors"
	"fmt"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"tempestd/internal/doctor"
	"tempestd/internal/version"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why the daemon would not work here",
		Long: `Doctor looks at everything that a daemon needs: the configuration and what is unwise in it, the
rights to data_dir, the disk, the limits of the system, the port; the Valkey server, the commands
it allows, its memory and its durability; and of every endpoint the name, TLS, the handshake, what
is spoken and why, and its clock against this machine's.

It changes nothing and can run beside a daemon. Run it as root or as the daemon's user: another one
has other rights. It opens one connection to each endpoint, for a moment.

Exit codes: 0 nothing fails, 1 something does, 2 the command line is wrong.`,
		Example: `  tempestd doctor
  tempestd doctor -c /etc/tempestd/config.toml
  tempestd doctor --json | jq '.checks[] | select(.level != "ok")'`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig()
			opt := doctor.Options{Clock: clockwork.NewRealClock(), UserAgent: version.UserAgent(version.This().Version)}
			if !asJSON {
				opt.Told = a.tellCheck(newPalette(a.out))
			}
			report := doctor.Examine(c.Context(), cfg, err, opt)
			if asJSON {
				if err := printJSON(a.out, report); err != nil {
					return err
				}
			}
			if failed := report.Count(doctor.Failure); failed > 0 {
				return errors.New(plural(failed, "check") + " failed")
			}
			return nil
		},
	}
	a.configFlag(c)
	jsonFlag(c, &asJSON)
	return c
}

// tellCheck returns a function that prints a check as a line.
func (a *app) tellCheck(p palette) func(doctor.Check) {
	words := map[doctor.Level]string{doctor.OK: p.good.Render("ok  "), doctor.Warning: p.busy.Render("warn"), doctor.Failure: p.bad.Render("FAIL")}
	return func(c doctor.Check) {
		subject := c.Subject
		if subject != "" {
			subject += ": "
		}
		fmt.Fprintf(a.out, "%s  %-18s %s%s\n", words[c.Level], c.Name, subject, c.Detail)
	}
}
