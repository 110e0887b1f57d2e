package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Remembering returns a ledger whose cursors remember most rows.
func (db *DB) Remembering(most int) *Ledger { return &Ledger{db: db, remembered: most} }

// Remembered counts the rows that c remembers.
func (c Cursor) Remembered() int { return len(c.shown) }

// ExplainLedger returns how the database would run each query of Tail and Show, by its name.
func (db *DB) ExplainLedger(ctx context.Context, from time.Time) (plans map[string]string, err error) {
	dry := db.read(ctx).Session(&gorm.Session{DryRun: true})
	query := ledgerQuery{tx: dry, dialect: db.dialect}
	plans = map[string]string{}
	for name, statement := range map[string]*gorm.DB{
		"newest": query.newestAbove(from).Find(&ledgerRow{}),
		"above":  query.above(from).Order(oldestFirst).Limit(1000).Find(&[]ledgerRow{}),
		"begin":  query.above(from).Order(latestFirst).Limit(1000).Find(&[]ledgerRow{}),
		"up to":  query.upTo(from).Order(latestFirst).Limit(10).Find(&[]ledgerRow{}),
		"show":   showQuery(dry, ingest.Source{Transport: ingest.BotAPI, Account: 1}, 5).Find(&[]ledgerRow{}),
	} {
		if plans[name], err = db.explain(ctx, statement.Statement); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// explain keeps PostgreSQL from reading a table that is small enough for it.
func (db *DB) explain(ctx context.Context, statement *gorm.Statement) (plan string, err error) {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	explain := "EXPLAIN QUERY PLAN "
	if db.dialect == onPostgres {
		explain = "EXPLAIN "
		if _, err := conn.ExecContext(ctx, "SET enable_seqscan = off"); err != nil {
			return "", err
		}
	}
	rows, err := conn.QueryContext(ctx, explain+statement.SQL.String(), statement.Vars...)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	for rows.Next() {
		// The last column is the text.
		var line string
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		cells[len(cells)-1] = &line
		if err := rows.Scan(cells...); err != nil {
			return "", err
		}
		plan += line + "\n"
	}
	return plan, rows.Err()
}
