package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/event"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Streams are where a command writes.
type Streams struct {
	Out io.Writer // reports and logs
	Err io.Writer // words for people
}

// usageError is a wrong command line or configuration.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Run runs the command that args name and returns the exit status. A gateway that it
// runs tells the sinks of every request and attempt.
func Run(ctx context.Context, args []string, s Streams, sinks ...event.Sink) int {
	root := newRootCommand(sinks...)
	root.SetArgs(args)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	complain(s.Err, err)
	var usage *usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitError
}

// complain prints an error, each of several on its own line. Lines that are
// indented, such as the excerpt of a file, belong to the one before.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			continue
		case line[0] != ' ' && line[0] != '\t':
			line = "millrace: " + line
		}
		_, _ = fmt.Fprintln(w, line)
	}
}

func newRootCommand(sinks ...event.Sink) *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "A traffic gateway for applications that use language models",
		Long: "Millrace stands between the users of an application and its language models. It paces requests to what\n" +
			"each provider allows, queues the overflow fairly, tells everybody where they stand, and falls back.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagFault)
	root.AddCommand(newServeCommand(sinks...), newSimCommand(), newLoadCommand(), newPlanCommand(), newDemoCommand(), newExplainCommand(), newConfigCommand(), newKeysCommand(), newVersionCommand())
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "millrace "+app.Version())
			return err
		},
	}
}
