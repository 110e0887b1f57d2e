package store

import (
	"strconv"
	"time"
)

// sqliteNow is SQLite's clock, written as instantLayout says; SQLite knows milliseconds. It lacks the closing parenthesis, so
// that a modifier can follow.
const sqliteNow = `strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now'`

// statementTime returns the expression for the database's clock at the start of the statement. An index can be searched for it.
func (d dialect) statementTime() string {
	if d == onSQLite {
		return sqliteNow + `)`
	}
	return `statement_timestamp()`
}

// clockTime returns the expression for the database's clock at the moment when it is read: after any wait for a lock.
func (d dialect) clockTime() string {
	if d == onSQLite {
		return sqliteNow + `)`
	}
	return `clock_timestamp()`
}

// clockTimeAfter returns the expression for clockTime plus a length of time, which is the expression's one parameter, as interval
// writes it.
func (d dialect) clockTimeAfter() string {
	if d == onSQLite {
		return sqliteNow + `, ?)`
	}
	return `clock_timestamp() + (?)::interval`
}

// interval writes d so that both databases read it as a length of time.
func interval(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " seconds"
}
