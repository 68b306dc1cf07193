// Command millrace is a traffic gateway for applications that use language
// models: it paces requests to what each provider allows and queues the rest
// fairly. See `millrace help`.
package main

import (
	"context"
	"os"

	"github.com/millrace/millrace/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}
