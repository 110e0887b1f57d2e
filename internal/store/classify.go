package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	sqlitecode "modernc.org/sqlite/lib"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// refusal is an error that the database answered with. Its text names the code, the table and the constraint. PostgreSQL's detail,
// and for some classes its message, quote values of rows: they are dropped here and exist nowhere else.
type refusal struct {
	// code is the SQLSTATE of PostgreSQL.
	code string
	// message is empty for the classes whose messages can quote a value.
	message           string
	table, constraint string
}

func (r *refusal) Error() string {
	text := "sqlstate " + r.code
	if r.message != "" {
		text += ": " + r.message
	}
	if r.table != "" {
		text += ", table " + r.table
	}
	if r.constraint != "" {
		text += ", constraint " + r.constraint
	}
	return text
}

// sqlstates says what each class of SQLSTATE means to a caller, and whether the server's messages of the class quote no values. A
// class that is not listed is unclassified, and its messages are dropped.
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html.
var sqlstates = map[string]struct {
	class  fault.Class
	silent bool
}{
	"08": {class: fault.Transient},               // connection
	"21": {class: fault.Permanent, silent: true}, // cardinality
	"22": {class: fault.Permanent, silent: true}, // data
	"23": {class: fault.Permanent, silent: true}, // constraint
	"25": {class: fault.Unclassified},            // transaction not in the state asked for
	"28": {class: fault.Unclassified},            // authorization: a process that starts with a wrong password must say so
	"3D": {class: fault.Unclassified},            // no such database
	"40": {class: fault.Unclassified},            // rollback
	"42": {class: fault.Unclassified},            // syntax, names, privileges
	"53": {class: fault.Transient},               // resources
	"54": {class: fault.Permanent, silent: true}, // a limit of the program: an id too long for an index, JSON too deep
	"55": {class: fault.Unclassified},            // object not in the state asked for
	"57": {class: fault.Transient},               // an operator, a shutdown, a start, a cancel
	"58": {class: fault.Unclassified},            // the server's system
}

// transientStates are the members of classes that are not transient as a whole which go away by themselves, whatever was written: the
// database is a replica, in recovery or being maintained, its disk errs, or somebody else is in the way. Others of these classes may
// be a batch's own fault, and a batch that fails for ever must not be called transient: it would take its neighbours with it.
var transientStates = map[string]bool{
	"25006": true, // read only: a replica, or a server that is being switched over
	"25P03": true, // idle in transaction for too long: this process was stopped in between
	"25P04": true, // transaction_timeout
	"40000": true, // rollback
	"40001": true, // serialization failure
	"40003": true, // statement completion unknown
	"40P01": true, // deadlock
	"55006": true, // object in use
	"55P03": true, // lock not available: lock_timeout, NOWAIT
	"58000": true, // system error
	"58030": true, // input or output error
}

// classify gives err the fault class that says what a caller may do, and drops from its text whatever the database quoted of
// a row. An error that has a class already keeps it. Not finding a row is fault.NotFound.
func classify(err error) error {
	if err == nil || fault.ClassOf(err) != fault.Unclassified {
		return err
	}
	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		return refused(answered)
	}
	var lite *gosqlite.Error
	if errors.As(err, &lite) {
		return fault.As(classOfSQLite(lite.Code()), err)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, gorm.ErrRecordNotFound):
		return fault.As(fault.NotFound, err)
	case lostConnection(err):
		return fault.As(fault.Transient, err)
	default:
		return err
	}
}

func refused(answered *pgconn.PgError) error {
	r := &refusal{
		code: answered.Code, table: answered.TableName, constraint: answered.ConstraintName,
	}
	state, known := sqlstates[answered.Code[:min(2, len(answered.Code))]]
	if known && !state.silent {
		r.message = answered.Message
	}
	class := state.class
	if transientStates[answered.Code] {
		class = fault.Transient
	}
	if class == fault.Unclassified {
		return r
	}
	return fault.As(class, r)
}

// lostConnection tells whether err says that no answer came, or none in time.
func lostConnection(err error) bool {
	var timeout net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.As(err, &timeout), errors.As(err, &connect), pgconn.SafeToRetry(err):
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone):
	default:
		return false
	}
	return true
}

// classOfSQLite returns the class of a result code. Source: https://www.sqlite.org/rescode.html.
func classOfSQLite(code int) fault.Class {
	switch code & 0xff {
	case sqlitecode.SQLITE_BUSY, sqlitecode.SQLITE_LOCKED, sqlitecode.SQLITE_IOERR, sqlitecode.SQLITE_FULL,
		sqlitecode.SQLITE_CANTOPEN, sqlitecode.SQLITE_READONLY, sqlitecode.SQLITE_INTERRUPT:
		return fault.Transient
	case sqlitecode.SQLITE_CONSTRAINT, sqlitecode.SQLITE_MISMATCH, sqlitecode.SQLITE_TOOBIG:
		return fault.Permanent
	default:
		return fault.Unclassified
	}
}
