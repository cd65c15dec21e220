package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tempestd/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  none,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return printJSON(a.out, version.This())
			}
			_, err := fmt.Fprintln(a.out, version.This())
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
