package operator

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/store"
)

func migrateCommand(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: `Makes the tables, or brings them up to what this program needs. Running it again changes nothing, and any number of
processes may run it at once. Processes of the older program go on working. --json prints {"up_to_date": true}.` + settings(),
		Example: `  DATABASE_URL=postgres://tgfleet@127.0.0.1:5432/tgfleet tgfleet migrate
  DATABASE_URL=sqlite:tgfleet.db tgfleet migrate`,
		Args: cobra.NoArgs,
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cfg, err := config.LoadOperator(env.Lookup)
		if err != nil {
			return err
		}
		db, err := store.Open(cmd.Context(), cfg.DatabaseURL, store.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		if err := db.Migrate(cmd.Context()); err != nil {
			return err
		}
		asJSON, err := cmd.Flags().GetBool("json")
		if err != nil {
			return err
		}
		return show(cmd, asJSON, map[string]bool{"up_to_date": true}, func(w io.Writer) { row(w, "The schema is up to date.") })
	}
	return cmd
}
