package store

import "database/sql"

// SQL is the pool below db, for tests of what the repositories do not show.
func (db *DB) SQL() *sql.DB { return db.pool }
