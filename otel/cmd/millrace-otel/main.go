// Command millrace-otel is millrace, and tells its requests to an OpenTelemetry
// collector. The variables of OpenTelemetry say where that is.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	sdk "go.opentelemetry.io/otel"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/cli"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/otel/otlp"
)

// lastWords is how long the end waits for a collector.
const lastWords = 5 * time.Second

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

func run(ctx context.Context, args []string) int {
	streams := cli.Streams{Out: os.Stdout, Err: os.Stderr}
	if !slices.Contains(args, "serve") {
		return cli.Run(ctx, args, streams)
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	sdk.SetErrorHandler(sdk.ErrorHandlerFunc(func(err error) { log.Warn("telemetry was not sent", "error", err) }))
	sink, err := otlp.New(ctx, otlp.Options{Version: app.Version()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "millrace: "+err.Error())
		return 2
	}
	status := cli.Run(ctx, args, streams, event.Sink(sink))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := sink.Close(ctx); err != nil {
		log.Warn("telemetry was not sent", "error", err)
	}
	return status
}
