// Command tgfleet is the operator's tool, and the whole fleet in one process: `tgfleet up`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tgfleet/tgfleet/internal/app/operator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains; a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	cmd := operator.Command(operator.Env{Program: os.Args[0], Lookup: os.LookupEnv, In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	err := cmd.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "tgfleet: %v\n", err)
		os.Exit(1)
	}
}
