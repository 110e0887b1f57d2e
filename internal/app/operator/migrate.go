package operator

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/store"
)

func migrateCommand(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: `Makes the tables, or brings them up to what this program needs. Running it again changes nothing, and any number of
processes may run it at once. Processes of the older program go on working.` + settings(),
		Example: `  DATABASE_URL=postgres://tgfleet@127.0.0.1:5432/tgfleet tgfleet migrate
  DATABASE_URL=sqlite:tgfleet.db tgfleet migrate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
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
			fmt.Fprintln(cmd.OutOrStdout(), "The schema is up to date.")
			return nil
		},
	}
}
