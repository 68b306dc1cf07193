package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or show what serve would run with"}
	cmd.AddCommand(newConfigInitCommand(), newConfigCheckCommand(), newConfigPrintCommand(), newConfigSchemaCommand())
	return cmd
}

// sampleFile is what config init writes.
//
//go:embed sample.yaml
var sampleFile string

func newConfigInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [FILE]",
		Short:   "Write a file to begin with; one that exists is left alone",
		Example: "  millrace config init millrace.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "millrace.yaml"
			if len(args) > 0 {
				path = args[0]
			}
			if err := writeNew(path, sampleFile); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; change it, then run millrace config check --config %s\n", path, path)
			return err
		},
	}
}

// writeNew writes a file that does not exist yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &usageError{fmt.Errorf("%s exists and is left as it is; name another file", path)}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func newConfigSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the file, for editors",
		Example: "  millrace config schema > " + schemaName,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeSchema(cmd.OutOrStdout())
		},
	}
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
