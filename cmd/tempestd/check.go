package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tempestd/internal/doctor"
	"tempestd/internal/plain"
)

func (a *app) checkCommand() *cobra.Command {
	var quiet bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and print what is in effect",
		Long: `Check reads the configuration as run would, and prints it with every default filled in and every
secret masked, as TOML.

When something is wrong, all of it is printed, a line each, with the file, the line, the key, what
was found and what is accepted. The exit code is 2 then. What is allowed and unwise is a warning on
standard error. Nothing is started and nothing is contacted: that is what doctor does.`,
		Example: `  tempestd check
  tempestd check -c /etc/tempestd/config.toml
  tempestd check -q && systemctl restart tempestd`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			for _, e := range cfg.Unresolved {
				fmt.Fprintf(a.err, "warning: %s: the daemon needs it, and may have it in its unit\n", e)
			}
			for _, e := range cfg.Warnings {
				fmt.Fprintf(a.err, "warning: %s\n", e)
			}
			if level, detail := doctor.SpaceOf(cfg); level != doctor.OK {
				fmt.Fprintf(a.err, "warning: data_dir: %s\n", plain.Line(detail))
			}
			if quiet {
				return nil
			}
			source := cfg.Path
			if source == "" {
				source = "the built-in defaults: there is no ./config.toml and no /etc/tempestd/config.toml"
			}
			fmt.Fprintf(a.out, "# %s\n\n", source)
			return cfg.WriteTOML(a.out)
		},
	}
	a.configFlag(c)
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print warnings and errors alone")
	return c
}
