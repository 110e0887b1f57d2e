package operator

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tgfleet/tgfleet/internal/app/up"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/obs"
)

func upCommand(env Env) *cobra.Command {
	opts := up.Options{Out: env.Out, Program: env.Program}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole fleet in this process",
		Long: `Runs everything in one process with nothing to install: webhooks or polling, sessions of accounts, a queue, workers, and a SQLite
database. What it has answered for survives kill -9. With REDIS_URL and DATABASE_URL it uses real servers instead.

With TELEGRAM_BOT_TOKEN it polls that bot. With TELEGRAM_API_ID and TELEGRAM_API_HASH it listens to the accounts that "tgfleet connector" adds
and signs in. With --simulate it starts a fake Telegram instead, whose bots are never quiet, and which has an account to listen to.

Settings, from the environment:

` + config.Usage(config.ForUp),
		Example: `  tgfleet up --simulate
  TELEGRAM_BOT_TOKEN=123456:ABC... tgfleet up
  DATABASE_URL=postgres://tgfleet@127.0.0.1/tgfleet REDIS_URL=redis://127.0.0.1:6379/0 tgfleet up`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&opts.Simulate, "simulate", false, "start a fake Telegram with three lively bots and an account")
	cmd.Flags().Float64Var(&opts.Rate, "rate", 20, "updates a second that the fake Telegram sends")
	cmd.Flags().StringVar(&opts.DataDir, "data", "tgfleet-data", "folder for the database and the keys")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if opts.Rate <= 0 {
			return fmt.Errorf("--rate %g: want more than 0", opts.Rate)
		}
		cfg, err := config.LoadUp(env.Lookup)
		if err != nil {
			return err
		}
		opts.Terminal = isTerminal(env.Out)
		return up.Run(cmd.Context(), cfg, opts, obs.NewLogger(env.Err, cfg.LogLevel, cfg.LogFormat))
	}
	return cmd
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
