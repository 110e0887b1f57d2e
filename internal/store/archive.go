package store

// Archive keeps what Telegram told. Any number of goroutines may use it.
type Archive struct {
	db *DB
}

// Archive returns the repository of what Telegram told.
func (db *DB) Archive() *Archive { return &Archive{db: db} }
