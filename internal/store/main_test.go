package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

// server is the PostgreSQL of this test binary; every test gets a migrated database of its own.
var server = localtest.Postgres{Migrate: migrate}

func TestMain(m *testing.M) { goleak.VerifyTestMain(server.Around(m)) }

func migrate(ctx context.Context, url string) error {
	db, err := store.Open(ctx, seal.Secret(url), store.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}

// eachDatabase runs test once for each kind of database; open makes a DB over a migrated database that belongs to the test alone.
func eachDatabase(t *testing.T, test func(t *testing.T, open func(t *testing.T) *store.DB)) {
	t.Helper()
	for name, url := range map[string]func(t *testing.T) string{"postgres": postgresURL, "sqlite": sqliteURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(t *testing.T) *store.DB { return open(t, url(t)) })
		})
	}
}

func postgresURL(t *testing.T) string { return server.Database(t) }

func sqliteURL(t *testing.T) string {
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	require.NoError(t, migrate(t.Context(), url))
	return url
}

func open(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), seal.Secret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}
