package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// Command is a command of the fleet that has no subcommands: settings from the environment, and one long run.
type Command[C any] struct {
	Name config.Command
	// Does completes the sentence "<name> ...".
	Does string
	Load func(lookup func(string) (string, bool)) (C, error)
	Log  func(cfg C) config.Log
	Run  func(ctx context.Context, cfg C, log *slog.Logger) error
}

// Exit codes: a mistake in how the command was called or configured, and a run that ended badly.
const (
	exitUsage  = 2
	exitFailed = 1
)

// Main runs c as this process's command and ends the process. SIGTERM and SIGINT drain; a second one ends it at once.
func Main[C any](c Command[C]) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(c.main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func (c Command[C]) main(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet(string(c.Name), flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out, "%[1]s %[2]s.\n\nUsage: %[1]s\n\nSettings, from the environment:\n\n%[3]s", c.Name, c.Does, config.Usage(c.Name))
		return 0
	case err != nil || flags.NArg() > 0:
		fmt.Fprintf(errs, "%s takes no arguments; its settings come from the environment, see %[1]s --help\n", c.Name)
		return exitUsage
	}
	cfg, err := c.Load(os.LookupEnv)
	if err != nil {
		fmt.Fprintf(errs, "%s can't start with these settings:\n  %s\n", c.Name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
		return exitUsage
	}
	settings := c.Log(cfg)
	log := obs.NewLogger(errs, settings.LogLevel, settings.LogFormat).With("process", string(c.Name))
	log.Info("started")
	if err := c.Run(ctx, cfg, log); err != nil {
		log.Error("ended", "error", err)
		return exitFailed
	}
	log.Info("ended")
	return 0
}
