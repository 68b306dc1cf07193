package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or show what serve would run with"}
	cmd.AddCommand(newConfigCheckCommand(), newConfigPrintCommand())
	return cmd
}

func newConfigCheckCommand() *cobra.Command {
	var s config.Source
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for faults and start nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(s)
			if err != nil {
				return err
			}
			for _, w := range c.Warnings {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is sound")
			return err
		},
	}
	registerSource(cmd, &s)
	return cmd
}

func newConfigPrintCommand() *cobra.Command {
	var s config.Source
	var origin bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Show every setting; credentials are masked",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(s)
			if err != nil {
				return err
			}
			return printSettings(cmd.OutOrStdout(), c, origin)
		},
	}
	registerSource(cmd, &s)
	cmd.Flags().BoolVar(&origin, "origin", false, "show where each value came from")
	return cmd
}

func printSettings(w io.Writer, c *config.Config, origin bool) error {
	var b strings.Builder
	for _, s := range c.Settings() {
		if origin {
			fmt.Fprintf(&b, "%s: %s  # %s\n", s.Key, s.Value, s.Origin)
		} else {
			fmt.Fprintf(&b, "%s: %s\n", s.Key, s.Value)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
