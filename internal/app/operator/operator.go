// Package operator is the commands of tgfleet, the operator's tool: one file a subject. A command reads its settings from the
// environment, does one thing, prints a table for people or JSON for programs, and says in its error what to do. No
// command prints a secret that it did not just make.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Env is what the commands get from outside.
type Env struct {
	// Lookup reads the environment, like os.LookupEnv.
	Lookup func(string) (string, bool)
	// Program is how this program was called.
	Program string
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
}

// Command returns the whole tree of commands.
func Command(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "tgfleet",
		Short: "A fleet that takes in Telegram updates and loses none",
		Long: `tgfleet takes in Telegram updates through Redis queues into a database, and loses none.

Try it:   tgfleet up --simulate
Look:     DATABASE_URL=sqlite:tgfleet-data/tgfleet.db tgfleet updates tail`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.AddCommand(
		upCommand(env), migrateCommand(env), keysCommand(env), botCommand(env), connectorCommand(env), backfillCommand(env), updatesCommand(env),
		messagesCommand(env), deadCommand(env),
		replayCommand(env), eraseCommand(env), benchCommand(),
	)
	return root
}

// settings returns the help text about the environment of the commands that use the database.
func settings() string {
	return "\n\nSettings, from the environment:\n\n" + config.Usage(config.ForOperator)
}

// group returns a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// session is one command's hold on the database.
type session struct {
	cfg config.Operator
	db  *store.DB
	cmd *cobra.Command
	// json is true when the command prints for programs.
	json bool
}

// withDatabase runs do with an open database whose schema is current. Needs names the settings that the command can't do without.
func withDatabase(env Env, cmd *cobra.Command, needs []string, do func(ctx context.Context, s *session) error) (err error) {
	cfg, err := config.LoadOperator(env.Lookup, needs...)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	db, err := store.Open(ctx, cfg.DatabaseURL, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	asJSON, _ := cmd.Flags().GetBool("json") // a command without the flag prints for people
	return do(ctx, &session{cfg: cfg, db: db, cmd: cmd, json: asJSON})
}

func addJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("json", false, "print JSON for programs")
	return cmd
}

// print writes value as JSON, or calls text with a table to fill, whichever the command was asked for.
func (s *session) print(value any, text func(w io.Writer)) error {
	return show(s.cmd, s.json, value, text)
}

func show(cmd *cobra.Command, asJSON bool, value any, text func(w io.Writer)) error {
	if asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetEscapeHTML(false)
		return enc.Encode(value)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprintln(w)
}
