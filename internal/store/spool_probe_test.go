package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
)

func TestProbeOfTheSpoolSucceedsWhenAPutWouldAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"postgres": postgresURL(t), "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "spool.db"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, url)
			require.NoError(t, db.Migrate(t.Context()))
			require.NoError(t, db.Spool().Probe(t.Context()))
			var rows int
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM spool").Scan(&rows))
			require.Zero(t, rows)
			require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT writes FROM probes").Scan(&rows))
			require.Equal(t, 1, rows, "a commit was tried")
		})
	}
}

func TestProbeOfASpoolThatTakesNothingFails(t *testing.T) {
	t.Parallel()
	url := postgresURL(t)
	db, other := open(t, url), open(t, url)
	tx, err := other.SQL().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE spool IN EXCLUSIVE MODE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, fault.Transient, fault.ClassOf(db.Spool().Probe(ctx)), "the archive takes writes, the spool does not")
}
