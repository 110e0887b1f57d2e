package store_test

import (
	"database/sql"
	"testing"

	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestBackfills(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Backfills)
}

func TestBackfillMarks(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		storetest.BackfillMarks(t, func(t *testing.T) (*store.DB, *sql.DB) {
			db := open(t)
			pool := db.SQL()
			return db, pool
		})
	})
}
