// Package store keeps everything that the fleet must not forget, in PostgreSQL or in one SQLite file, behind repositories:
// Archive (what Telegram told), Messages, Ledger, Replays, Erasures, Spool, DeadLetters, Bots and Leases. It owns GORM and the
// database drivers; no other package sees them. Both databases pass one suite (package storetest) and keep the same promises: a method
// that returns nil has committed, and survives the death of any process. Errors carry a class of package fault and name tables,
// constraints and codes, never a value of a row. The package decides nothing about Telegram's content; versions decide which snapshot
// wins.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// dialect is which database a DB speaks to.
type dialect uint8

const (
	onPostgres dialect = iota + 1
	onSQLite
)

const (
	// defaultMaxConns is enough for two flushes in flight beside the small reads and writes of one process.
	defaultMaxConns = 8
	// connIdleTime returns a server's connections after a burst.
	connIdleTime = 5 * time.Minute
	// connectTimeout bounds one attempt to reach a PostgreSQL server that answers nothing.
	connectTimeout = 5 * time.Second
	// sqliteBusyWithin is how long SQLite waits for another process, and sqliteBusyPause how often we ask where SQLite does not wait.
	sqliteBusyWithin = 10 * time.Second
	sqliteBusyPause  = 20 * time.Millisecond
)

// errURL says what a database URL looks like. The URL itself may hold a password and is never quoted.
var errURL = errors.New(
	"database url: want postgres://USER:PASSWORD@HOST:PORT/NAME (special characters of the password as %XX) or sqlite:PATH")

// Options tune a DB. The zero value is usable.
type Options struct {
	// Log receives what changes the schema; nil means silence.
	Log *slog.Logger
	// Registerer receives the metrics of this DB; nil means none.
	Registerer prometheus.Registerer
	// MaxConns bounds the open connections; 0 means 8.
	MaxConns int
}

// DB is a pool of connections to one database. Any number of goroutines may use it.
type DB struct {
	gorm    *gorm.DB
	pool    *sql.DB
	dialect dialect
	log     *slog.Logger
	// writing lets one transaction of this process at a time write to SQLite, which has one writer anyway: waiting here is
	// fair and ends with the caller's context, waiting in SQLite is neither. It is nil on PostgreSQL.
	writing chan struct{}
}

// Open makes a DB for url: postgres://... or sqlite:PATH. A SQLite file is opened, and made when it does not exist; a PostgreSQL
// server is first spoken to by the first call that needs it, so that a process can start while it is away. The error of
// a wrong url is fault.Permanent, says what would be right and does not quote the url.
func Open(ctx context.Context, url seal.Secret, opts Options) (*DB, error) {
	if opts.MaxConns == 0 {
		opts.MaxConns = defaultMaxConns
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{log: opts.Log}
	dialector, err := db.connect(url.Reveal())
	if err != nil {
		return nil, err
	}
	if db.dialect == onSQLite {
		if err := db.openFile(ctx); err != nil {
			return nil, errors.Join(err, db.pool.Close())
		}
	}
	db.gorm, err = gorm.Open(dialector, &gorm.Config{
		// Errors are returned and classified; a log of statements would hold what people wrote.
		Logger:                 logger.Discard,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		NowFunc:                func() time.Time { return time.Now().UTC() },
	})
	if err != nil {
		return nil, fmt.Errorf("open database: %w", errors.Join(classify(err), db.pool.Close()))
	}
	if err := registerMetrics(opts.Registerer, db.pool); err != nil {
		return nil, errors.Join(err, db.pool.Close())
	}
	db.pool.SetMaxOpenConns(opts.MaxConns)
	db.pool.SetMaxIdleConns(opts.MaxConns)
	db.pool.SetConnMaxIdleTime(connIdleTime)
	return db, nil
}

// openFile makes the first connection to a SQLite file. Of several processes that turn a new file to WAL at once, SQLite tells all but one
// that it is busy, without regard to the timeout, so they try again.
func (db *DB) openFile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sqliteBusyWithin)
	defer cancel()
	again := time.NewTicker(sqliteBusyPause)
	defer again.Stop()
	for {
		err := db.Ping(ctx)
		if fault.ClassOf(err) != fault.Transient {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// connect sets the pool and the dialect that url asks for.
func (db *DB) connect(url string) (gorm.Dialector, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "postgres", "postgresql":
		config, err := postgresConfig(url)
		if err != nil {
			return nil, fault.As(fault.Permanent, err)
		}
		db.dialect, db.pool = onPostgres, stdlib.OpenDB(*config)
		return postgres.New(postgres.Config{Conn: db.pool}), nil
	case "sqlite":
		dsn, err := sqliteDSN(rest)
		if err != nil {
			return nil, fault.As(fault.Permanent, err)
		}
		pool, err := sql.Open(sqlite.DriverName, dsn)
		if err != nil {
			return nil, fmt.Errorf("open database: %w", classify(err))
		}
		db.dialect, db.pool, db.writing = onSQLite, pool, make(chan struct{}, 1)
		return &sqlite.Dialector{Conn: db.pool}, nil
	default:
		return nil, fault.As(fault.Permanent, errURL)
	}
}

func postgresConfig(text string) (*pgx.ConnConfig, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, errURL
	}
	config, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, explainURL(err, parsed)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tgfleet"
	}
	config.RuntimeParams["timezone"] = "UTC"
	return config, nil
}

// explainURL adds pgx's reason to errURL, unless the reason quotes the password.
func explainURL(err error, parsed *url.URL) error {
	reason := errors.Unwrap(err)
	password, _ := parsed.User.Password()
	if reason == nil || password != "" && strings.Contains(reason.Error(), password) {
		return errURL
	}
	return fmt.Errorf("%w: %s", errURL, reason.Error())
}

// sqliteDSN returns the driver's name for the file at path. Every transaction takes the write lock when it begins: one that took
// it later could find that another writer has made its snapshot stale, and would have to fail.
func sqliteDSN(path string) (string, error) {
	if path == "" || strings.Contains(path, ":memory:") {
		return "", fmt.Errorf("%w: sqlite wants the path of a file", errURL)
	}
	settings := url.Values{
		// In this order: the change to WAL waits for other processes only once there is a timeout.
		"_pragma": {"busy_timeout(" + strconv.FormatInt(sqliteBusyWithin.Milliseconds(), 10) + ")", "journal_mode(wal)", "synchronous(full)"},
		"_txlock": {"immediate"},
	}
	file := url.URL{Path: path}
	return "file:" + file.EscapedPath() + "?" + settings.Encode(), nil
}

// Ping asks the database for an answer. It returns a fault.Transient error when the database may answer later.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.PingContext(ctx); err != nil {
		return fmt.Errorf("ping database: %w", classify(err))
	}
	return nil
}

// Close closes all connections. Calls under way fail.
func (db *DB) Close() error {
	if err := db.pool.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// read returns a GORM session for reading outside a transaction. Writes go through write: the SQLite driver may report
// success for a lone statement that it skipped because ctx ended, and only a commit notices.
func (db *DB) read(ctx context.Context) *gorm.DB {
	return db.gorm.WithContext(ctx)
}

// write runs fn in one transaction and commits it when fn returns nil; otherwise nothing of it remains. Its error is classified.
func (db *DB) write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	if db.writing != nil {
		select {
		case db.writing <- struct{}{}:
			defer func() { <-db.writing }()
		case <-ctx.Done():
			return classify(ctx.Err())
		}
	}
	return classify(db.gorm.WithContext(ctx).Transaction(fn))
}
