package store_test

import (
	"database/sql"
	"testing"

	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestConnectors(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Connectors)
}

func TestConnectorEvents(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		storetest.ConnectorEvents(t, func(t *testing.T) (*store.DB, *sql.DB) {
			db := open(t)
			pool := db.SQL()
			return db, pool
		})
	})
}
