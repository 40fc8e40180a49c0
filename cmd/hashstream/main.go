// Command hashstream stores, serves and fetches content by its hash.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashstream/hashstream/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
	code := cli.Run(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
