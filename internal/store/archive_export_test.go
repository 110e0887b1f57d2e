package store

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tgfleet/tgfleet/internal/content"
)

// Rows is what Apply writes into one table, as plain arrays.
type Rows struct {
	Table                    string
	Columns, Elements, Casts []string
	Arrays                   []any
	Count                    int
}

// RowsOf returns the rows that Apply writes for a batch of messages that nobody has seen.
func RowsOf(batch content.Batch) []Rows {
	updates := foldUpdates(&batch)
	f := fold(&batch, updates)
	return []Rows{
		rowsOf(&updatesTable, updates), rowsOf(&messagesTable, f.messages), rowsOf(&mediaTable, mediaOf(f.messages)),
		rowsOf(&mediaFilesTable, f.files), rowsOf(&revisionsTable, f.revisions),
		rowsOf(&eventsTable, eventsOf(f.messages, nil, f.revisions)), rowsOf(&chatsTable, f.chats), rowsOf(&usersTable, f.users),
	}
}

func rowsOf[T any](t *table[T], rows []T) Rows {
	out := Rows{Table: t.name, Count: len(rows)}
	for _, c := range t.columns {
		cells := make([]any, len(rows))
		for i, row := range rows {
			cells[i] = c.cell(row)
		}
		out.Columns = append(out.Columns, c.name)
		out.Elements = append(out.Elements, c.kind.element)
		out.Casts = append(out.Casts, c.kind.cast)
		out.Arrays = append(out.Arrays, plain(cells, c.kind))
	}
	return out
}

func plain(cells []any, k kind) any {
	switch k.element {
	case "int8":
		return typed(cells, func(v int64, ok bool) pgtype.Int8 { return pgtype.Int8{Int64: v, Valid: ok} })
	case "text":
		return typed(cells, func(v string, ok bool) pgtype.Text { return pgtype.Text{String: v, Valid: ok} })
	case "timestamptz":
		return typed(cells, func(v time.Time, ok bool) pgtype.Timestamptz { return pgtype.Timestamptz{Time: v, Valid: ok} })
	case "bool":
		return typed(cells, func(v, ok bool) pgtype.Bool { return pgtype.Bool{Bool: v, Valid: ok} })
	default:
		return typed(cells, func(v []byte, _ bool) []byte { return v })
	}
}

// typed returns the fastest array that pgx knows: of the Go type itself, or with NULLs.
func typed[V, N any](cells []any, nullable func(v V, ok bool) N) any {
	values, nullables, nulls := make([]V, len(cells)), make([]N, len(cells)), false
	for i, cell := range cells {
		v, ok := cell.(V)
		values[i], nullables[i] = v, nullable(v, ok)
		nulls = nulls || !ok
	}
	if nulls {
		return pgtype.FlatArray[N](nullables)
	}
	return pgtype.FlatArray[V](values)
}

// Classify and ClassOfSQLite are what every error of the store goes through.
var (
	Classify      = classify
	ClassOfSQLite = classOfSQLite
)

// HoldWrites keeps every writer of a SQLite database waiting until release is called.
func (db *DB) HoldWrites() (release func()) {
	db.writing <- struct{}{}
	return func() { <-db.writing }
}
