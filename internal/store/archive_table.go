package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
)

// table describes one table to both dialects: how a row of type T becomes cells, and what wins over what. PostgreSQL is sent one
// array a column, whatever the number of rows; SQLite is sent rows of values, some at a time. Rows are sent in the order given.
type table[T any] struct {
	name    string
	key     []string
	columns []column[T]
	groups  []group
}

// column is one column of a table. cell returns int64, string, bool, []byte, time.Time, or nil for NULL.
type column[T any] struct {
	name string
	kind kind
	cell func(row T) any
}

// group is the columns that change together, and the condition on excluded and the table's row under which the new cells win. A
// group of columns never depends on those of another.
type group struct {
	newer   string
	columns []string
}

// kind is how cells travel to PostgreSQL.
type kind struct {
	// element is the type of the array's elements, and sample a value of the Go type that is sent as one.
	element string
	sample  any
	// cast, when set, is the type that the element is turned into there.
	cast string
}

var (
	ofNumber = kind{element: "int8", sample: int64(0)}
	ofText   = kind{element: "text", sample: ""}
	ofFlag   = kind{element: "bool", sample: false}
	ofBytes  = kind{element: "bytea", sample: []byte(nil)}
	ofTime   = kind{element: "timestamptz", sample: time.Time{}}
	ofDay    = kind{element: "text", sample: "", cast: "date"}
	ofJSON   = kind{element: "text", sample: "", cast: "jsonb"}
	ofUUID   = kind{element: "text", sample: "", cast: "uuid"}
)

// parametersAStatement bounds the parameters of one SQLite statement. The driver looks for each parameter from the first one on, so
// that long statements cost more than many.
const parametersAStatement = 480

// statement is one statement over any number of rows of type T. Their cells stand between head and tail: on PostgreSQL as one
// unnest of arrays, on SQLite as lists of values.
type statement[T any] struct {
	name       string
	dialect    dialect
	columns    []column[T]
	head, tail string
}

// insert returns the statement that inserts rows whose keys nobody has.
func (t *table[T]) insert(d dialect) statement[T] {
	names := make([]string, len(t.columns))
	cells := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i], cells[i] = c.name, c.given()
	}
	columns := strings.Join(names, ", ")
	s := statement[T]{name: "write " + t.name, dialect: d, columns: t.columns}
	s.head = "INSERT INTO " + t.name + " (" + columns + ") "
	if d == onSQLite {
		s.head += "VALUES "
		return s
	}
	s.head += "SELECT " + strings.Join(cells, ", ") + " FROM " + unnest(t.columns) + " AS new (" + columns + ")"
	return s
}

// insertNew returns the statement that inserts the rows whose keys are new and leaves the others alone. Of several transactions
// that insert one key, one has inserted it.
func (t *table[T]) insertNew(d dialect) statement[T] {
	s := t.insert(d)
	s.tail = " ON CONFLICT (" + strings.Join(t.key, ", ") + ") DO NOTHING"
	return s
}

// upsert returns the statement that inserts the rows whose keys are new and brings into the others each group that wins.
func (t *table[T]) upsert(d dialect) statement[T] {
	conditions := make([]string, len(t.groups))
	for i, g := range t.groups {
		conditions[i] = "(" + g.newer + ")"
	}
	return t.upsertWhere(d, strings.Join(conditions, " OR "))
}

// upsertWhere returns the statement that inserts the rows whose keys are new and brings each group that wins into those of the
// others that meet condition, which speaks of excluded and the table's row. It locks the row of every key, in the order of the rows.
func (t *table[T]) upsertWhere(d dialect, condition string) statement[T] {
	var sets []string
	for _, g := range t.groups {
		for _, name := range g.columns {
			cell := "excluded." + name
			if len(t.groups) > 1 {
				cell = fmt.Sprintf("CASE WHEN %s THEN excluded.%s ELSE %s.%s END", g.newer, name, t.name, name)
			}
			sets = append(sets, name+" = "+cell)
		}
	}
	s := t.insert(d)
	s.tail = " ON CONFLICT (" + strings.Join(t.key, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", ") +
		" WHERE " + condition
	return s
}

// returning returns s with expressions over the rows that it wrote as its result.
func (s statement[T]) returning(expressions ...string) statement[T] {
	s.tail += " RETURNING " + strings.Join(expressions, ", ")
	return s
}

// remove returns the statement that deletes from a table what has the cells of rows in columns.
func remove[T any](d dialect, from string, columns []column[T]) statement[T] {
	s := statement[T]{name: "remove from " + from, dialect: d, columns: columns, tail: ")"}
	s.head = "DELETE FROM " + from + " WHERE " + among(d, columns)
	return s
}

// lookup returns the statement that reads cells, which are expressions, of what has the cells of rows in columns.
func lookup[T any](d dialect, from string, cells []string, columns []column[T]) statement[T] {
	s := statement[T]{name: "read " + from, dialect: d, columns: columns, tail: ")"}
	s.head = "SELECT " + strings.Join(cells, ", ") + " FROM " + from + " WHERE " + among(d, columns)
	return s
}

// among returns the condition that a table's row has the cells in columns of one of the statement's rows, up to where these end.
// Expressions stand for the columns where the table's row has the cells elsewhere.
func among[T any](d dialect, columns []column[T], expressions ...string) string {
	names, cells := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i], cells[i] = c.name, c.given()
	}
	list := strings.Join(names, ", ")
	if expressions == nil {
		expressions = names
	}
	if d == onSQLite {
		return "(" + strings.Join(expressions, ", ") + ") IN (VALUES "
	}
	return "(" + strings.Join(expressions, ", ") + ") IN (SELECT " + strings.Join(cells, ", ") + " FROM " + unnest(columns) + " AS new (" + list + ")"
}

// given returns the expression for what PostgreSQL was sent as the column.
func (c column[T]) given() string {
	if c.kind.cast != "" {
		return "new." + c.name + "::" + c.kind.cast
	}
	return "new." + c.name
}

func unnest[T any](columns []column[T]) string {
	arrays := make([]string, len(columns))
	for i, c := range columns {
		arrays[i] = fmt.Sprintf("$%d::%s[]", i+1, c.kind.element)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ")"
}

// exec runs s for rows and returns how many rows it wrote or removed.
func (s *statement[T]) exec(ctx context.Context, conn gorm.ConnPool, rows []T) (affected int, err error) {
	err = s.each(rows, func(query string, args []any) error {
		result, err := conn.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		affected += int(n)
		return err
	})
	return affected, s.failure(err)
}

// query runs s for rows and hands each row of its result to scan.
func (s *statement[T]) query(ctx context.Context, conn gorm.ConnPool, rows []T, scan func(*sql.Rows) error) error {
	return s.failure(s.each(rows, func(query string, args []any) error {
		result, err := conn.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer result.Close() //nolint:errcheck // Err has what there is to know
		for result.Next() {
			if err := scan(result); err != nil {
				return err
			}
		}
		return result.Err()
	}))
}

func (s *statement[T]) failure(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, classify(err))
}

// each calls run with the text and the arguments of each statement that rows need.
func (s *statement[T]) each(rows []T, run func(query string, args []any) error) error {
	if len(rows) == 0 {
		return nil
	}
	if s.dialect == onPostgres {
		args := make([]any, len(s.columns))
		for i := range s.columns {
			args[i] = array[T]{rows: rows, column: &s.columns[i]}
		}
		return run(s.head+s.tail, args)
	}
	limit := max(1, parametersAStatement/len(s.columns))
	list := "(?" + strings.Repeat(", ?", len(s.columns)-1) + ")"
	args := make([]any, 0, min(limit, len(rows))*len(s.columns))
	for chunk := range slices.Chunk(rows, limit) {
		args = args[:0]
		for _, row := range chunk {
			for i := range s.columns {
				args = append(args, sqliteCell(s.columns[i].cell(row)))
			}
		}
		if err := run(s.head+list+strings.Repeat(", "+list, len(chunk)-1)+s.tail, args); err != nil {
			return err
		}
	}
	return nil
}

// sqliteCell returns cell as SQLite is given it; see instant.
func sqliteCell(cell any) any {
	if at, ok := cell.(time.Time); ok {
		return at.UTC().Format(instantLayout)
	}
	return cell
}

// array is one column of rows, as pgx reads an array: cell by cell, with nothing copied.
type array[T any] struct {
	rows   []T
	column *column[T]
}

// Dimensions is part of pgtype.ArrayGetter.
func (a array[T]) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a.rows)), LowerBound: 1}} //nolint:gosec // a batch has thousands of rows at most
}

// Index is part of pgtype.ArrayGetter.
func (a array[T]) Index(i int) any { return a.column.cell(a.rows[i]) }

// IndexType is part of pgtype.ArrayGetter.
func (a array[T]) IndexType() any { return a.column.kind.sample }
