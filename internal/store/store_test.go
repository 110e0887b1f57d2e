package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/store"
)

func TestAMigratedDatabaseIsCurrentAndMigratesAgain(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		db := open(t)
		require.NoError(t, db.Ping(t.Context()))
		require.NoError(t, db.CheckSchema(t.Context()))
		require.NoError(t, db.Migrate(t.Context()))
		require.NoError(t, db.CheckSchema(t.Context()))
	})
}
