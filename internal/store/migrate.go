package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// daysAhead is for how many days, today included, Migrate makes partitions.
const daysAhead = 8

// Migrate brings the schema up to what this program needs, and makes the ledger's partitions for today and the next days. It
// changes nothing when that is done already, and any number of processes may call it at once.
func (db *DB) Migrate(ctx context.Context) error {
	provider, err := db.migrator()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for {
		before, err := db.schemaVersion(ctx)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		done, failure := provider.Up(ctx)
		for _, migration := range done {
			db.log.InfoContext(ctx, "schema migrated", "migration", migration.Source.Path, "duration", migration.Duration)
		}
		if failure == nil {
			break
		}
		// SQLite has no lock that outlives a transaction: of two processes that run one migration the later one fails, and
		// then finds that the schema has moved on. On PostgreSQL migrator's lock lets one process migrate at a time.
		after, err := db.schemaVersion(ctx)
		if err != nil || after <= before || db.dialect == onPostgres {
			return fmt.Errorf("migrate from schema version %d: %w", before, classify(failure))
		}
	}
	return db.Archive().PreparePartitions(ctx, time.Now(), daysAhead)
}

// CheckSchema returns nil when the schema has everything that this program needs; a newer schema has. Otherwise its error
// says what to run. It changes nothing.
func (db *DB) CheckSchema(ctx context.Context) error {
	provider, err := db.migrator()
	if err != nil {
		return fmt.Errorf("check schema: %w", err)
	}
	sources := provider.ListSources()
	needed := sources[len(sources)-1].Version
	current, err := db.schemaVersion(ctx)
	if err != nil {
		return fmt.Errorf("check schema: %w", err)
	}
	if current < needed {
		return fmt.Errorf("database schema has version %d, this program needs %d: run `tgfleet migrate`", current, needed)
	}
	return nil
}

// migrator returns goose over the dialect's migrations.
func (db *DB) migrator() (*goose.Provider, error) {
	name, folder := goose.DialectPostgres, "migrations/postgres"
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if db.dialect == onSQLite {
		name, folder = goose.DialectSQLite3, "migrations/sqlite"
	} else {
		// A second between looks, for up to five minutes: whoever holds the lock is migrating.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(name, db.pool, files, options...)
}

// schemaVersion returns the version of the newest migration that the database has seen, and 0 for an empty database. It asks
// with a query of its own, because goose makes its table when it looks.
func (db *DB) schemaVersion(ctx context.Context) (int64, error) {
	exists := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	if db.dialect == onPostgres {
		exists = `SELECT count(*) FROM pg_class WHERE oid = to_regclass('goose_db_version')`
	}
	var tables int
	if err := db.pool.QueryRowContext(ctx, exists).Scan(&tables); err != nil {
		return 0, classify(err)
	}
	if tables == 0 {
		return 0, nil
	}
	var version sql.NullInt64
	err := db.pool.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version)
	if err != nil {
		return 0, classify(err)
	}
	return version.Int64, nil
}
