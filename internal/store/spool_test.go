package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestSpool(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Spool)
}

func TestClaimersPassOverEachOther(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	batch := ingest.Spooled{Payload: []byte("payload"), Updates: 1, OldestAt: time.Now()}
	locked, err := db.Spool().Put(t.Context(), batch)
	require.NoError(t, err)
	free, err := db.Spool().Put(t.Context(), batch)
	require.NoError(t, err)

	other, err := db.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = other.Rollback() }()
	_, err = other.ExecContext(t.Context(), "SELECT 1 FROM spool WHERE id = $1 FOR UPDATE", locked)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	claimed, err := db.Spool().Claim(ctx, 10, time.Hour)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.Equal(t, free, claimed[0].ID)
}

func TestPostponedBatchIsDueByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		db := open(t)
		id, err := db.Spool().Put(t.Context(), ingest.Spooled{Payload: []byte("payload"), Updates: 1, OldestAt: time.Now()})
		require.NoError(t, err)
		before := time.Now()
		require.NoError(t, db.Spool().Postpone(t.Context(), id, 15*time.Second))
		// Database and test run on one machine: their clocks agree to SQLite's millisecond.
		var due time.Time
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT due_at FROM spool").Scan(&due))
		require.WithinRange(t, due, before.Add(15*time.Second-time.Millisecond), time.Now().Add(15*time.Second))
	})
}
