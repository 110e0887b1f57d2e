package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// lateness is how far behind the newest row a row may commit and still be seen by a tail: longer than the retries and the
	// crash of a worker hold an update back, and short enough to read again at each look.
	lateness = 2 * time.Minute
	// remembered bounds the rows of that time that a cursor remembers; a faster ledger is tailed with less lateness.
	remembered = 10_000
)

// Ledger reads the updates that the fleet has received, as they came; Archive.Apply writes them. Any number of goroutines may use it.
type Ledger struct {
	db *DB
	// remembered bounds the rows that a cursor remembers.
	remembered int
}

// Ledger returns the repository for reading the updates that came.
func (db *DB) Ledger() *Ledger { return &Ledger{db: db, remembered: remembered} }

// LedgerRow is one update as the ledger keeps it.
type LedgerRow struct {
	Source     ingest.Source
	UpdateID   int64
	Hash       ingest.Hash
	ReceivedAt time.Time
	Kind       ingest.Kind
	// ChatID is the chat that the update is about, or 0.
	ChatID            content.ChatID
	Origin            ingest.Origin
	Format            ingest.Format
	Layer             uint32
	NormaliserVersion uint16
	// SizeBytes is the length of Payload.
	SizeBytes int
	// Request and Payload are the exact bytes; Show alone reads them.
	Request []byte
	Payload []byte
}

// LedgerFilter says which rows are meant: those that meet all its fields. A zero field asks for nothing.
type LedgerFilter struct {
	Source ingest.Source
	Kind   ingest.Kind
	// ChatID is any id of the chat: rows are found under all ids that it has had.
	ChatID content.ChatID
}

// Cursor is a place in the ledger that a tail has come to. The zero Cursor is the beginning of a tail. A cursor may be used
// again and from several goroutines; it goes with the filter that it was made with.
type Cursor struct {
	started bool
	// floor is the time of receipt from which on (itself left out) rows are looked for.
	floor time.Time
	// shown is the rows above the floor that the tail has returned or passed over.
	shown map[ledgerKey]time.Time
}

// ledgerKey names a row of the ledger.
type ledgerKey struct {
	day      int64
	source   ingest.Source
	updateID int64
	hash     ingest.Hash
}

func (r *LedgerRow) key() ledgerKey {
	return ledgerKey{day: r.ReceivedAt.Unix() / int64(24*time.Hour/time.Second), source: r.Source, updateID: r.UpdateID, hash: r.Hash}
}

// Tail returns up to limit rows (a limit below 1 is 1) that filter means, without their bytes and in the order of their receipt, and
// the cursor for the next call. From the zero Cursor it returns the latest rows; after that, those that have come since, each
// once. Rows are not committed in the order of their receipt: one that is committed late is still returned when it was
// received no more than 2 minutes, and (of the rows that filter means) no more than 10,000 rows, before the newest row that the
// tail has reached. What comes later than that, a spool drained after an outage for example, a tail does not show.
func (l *Ledger) Tail(
	ctx context.Context, after Cursor, limit int, filter LedgerFilter,
) (rows []LedgerRow, next Cursor, err error) {
	query := ledgerQuery{tx: l.db.read(ctx), dialect: l.db.dialect, filter: filter, remembered: l.remembered}
	limit = max(limit, 1)
	if filter.ChatID != 0 {
		query.chats, err = chatIDs(query.tx, filter.ChatID)
	}
	switch {
	case err != nil:
	case after.started:
		rows, next, err = query.proceed(after, limit)
	default:
		rows, next, err = query.begin(limit)
	}
	if err != nil {
		return nil, after, fmt.Errorf("tail ledger: %w", classify(err))
	}
	return rows, next, nil
}

// Show returns every row that the ledger has for an update, with its exact bytes, in the order of receipt: a repeat on another day, or
// with other bytes, is a row of its own. The zero Source means any, and reads the whole ledger. No row is a fault.NotFound error.
func (l *Ledger) Show(ctx context.Context, source ingest.Source, updateID int64) ([]LedgerRow, error) {
	name := fmt.Sprintf("update %d", updateID)
	if source != (ingest.Source{}) {
		name += " of " + source.String()
	}
	rows, err := findLedgerRows(showQuery(l.db.read(ctx), source, updateID))
	if err != nil {
		return nil, fmt.Errorf("show %s: %w", name, classify(err))
	}
	if len(rows) == 0 {
		return nil, fault.As(fault.NotFound, fmt.Errorf("show %s: the ledger has none", name))
	}
	return rows, nil
}

func showQuery(tx *gorm.DB, source ingest.Source, updateID int64) *gorm.DB {
	query := tx.Select(ledgerColumns).Where("update_id = ?", updateID).Order("received_at, source, hash")
	if source == (ingest.Source{}) {
		return query
	}
	// The primary key begins with the day: with every day that the ledger has, it is searched and not read.
	return query.Where("source = ? AND day IN ("+ledgerDays+")", source.String())
}

// ledgerDays is the query for the days that the ledger has, and NULL: each is one search of the primary key.
const ledgerDays = `WITH RECURSIVE days(day) AS (
		SELECT min(day) FROM updates
		UNION ALL
		SELECT (SELECT min(day) FROM updates WHERE day > days.day) FROM days WHERE day IS NOT NULL)
	SELECT day FROM days`

// ledgerQuery reads for one call of Tail.
type ledgerQuery struct {
	tx      *gorm.DB
	dialect dialect
	filter  LedgerFilter
	// chats is all ids of the filter's chat, and nil when it names none.
	chats      []content.ChatID
	remembered int
}

// begin returns the latest rows. What it passes over within the time of lateness it remembers as shown.
func (q ledgerQuery) begin(limit int) ([]LedgerRow, Cursor, error) {
	next := Cursor{started: true, floor: time.Unix(0, 0).UTC(), shown: map[ledgerKey]time.Time{}}
	newest, err := q.newest(next.floor)
	if err != nil {
		return nil, next, err
	}
	next.advance(newest)
	recent, err := findLedgerRows(q.above(next.floor).Order(latestFirst).Limit(max(limit, q.remembered)))
	if err != nil {
		return nil, next, err
	}
	rows := recent[:min(limit, len(recent))]
	if missing := limit - len(rows); missing > 0 {
		older, err := findLedgerRows(q.upTo(next.floor).Order(latestFirst).Limit(missing))
		if err != nil {
			return nil, next, err
		}
		rows = append(rows, older...)
	}
	next.remember(recent, q.remembered)
	slices.Reverse(rows)
	return rows, next, nil
}

// proceed returns what came since after.
func (q ledgerQuery) proceed(after Cursor, limit int) ([]LedgerRow, Cursor, error) {
	next := Cursor{started: true, floor: after.floor, shown: maps.Clone(after.shown)}
	// Asked before the rows, so that a row which is committed in between can't raise the floor over others.
	reached, err := q.newest(after.floor)
	if err != nil {
		return nil, next, err
	}
	rows, err := findLedgerRows(q.above(after.floor).Order(oldestFirst).Limit(len(after.shown) + limit))
	if err != nil {
		return nil, next, err
	}
	rows = slices.DeleteFunc(rows, func(r LedgerRow) bool {
		_, shown := after.shown[r.key()]
		return shown
	})
	if len(rows) >= limit {
		rows = rows[:limit]
		if last := rows[limit-1].ReceivedAt; last.Before(reached) {
			reached = last
		}
	}
	next.advance(reached)
	next.remember(rows, q.remembered)
	return rows, next, nil
}

// advance raises the floor to what a tail that has reached a time still has to look at.
func (c *Cursor) advance(reached time.Time) {
	if floor := reached.Add(-lateness); floor.After(c.floor) {
		c.floor = floor
	}
}

// remember adds rows to the shown ones and forgets what is not above the floor, which it raises when there are more than most.
func (c *Cursor) remember(rows []LedgerRow, most int) {
	for i := range rows {
		c.shown[rows[i].key()] = rows[i].ReceivedAt
	}
	if excess := len(c.shown) - most; excess > 0 {
		times := slices.SortedFunc(maps.Values(c.shown), time.Time.Compare)
		if floor := times[excess-1]; floor.After(c.floor) {
			c.floor = floor
		}
	}
	maps.DeleteFunc(c.shown, func(_ ledgerKey, receivedAt time.Time) bool { return !receivedAt.After(c.floor) })
}

const (
	oldestFirst = "received_at, source, update_id, hash"
	latestFirst = "received_at DESC, source DESC, update_id DESC, hash DESC"
)

// newest returns the time of receipt of the newest row above floor, whatever the filter, and the zero time when there is none. Rows
// that a wrong clock has stamped ahead of the database's do not count: they would hide the rows of the right ones.
func (q ledgerQuery) newest(floor time.Time) (time.Time, error) {
	var row ledgerRow
	err := q.newestAbove(floor).Find(&row).Error
	return row.ReceivedAt.Time, err
}

func (q ledgerQuery) newestAbove(floor time.Time) *gorm.DB {
	return q.after(floor).Select("received_at").Where("received_at <= " + q.dialect.statementTime()).
		Order("received_at DESC").Limit(1)
}

// after returns the query for the rows that were received after floor. The day lets PostgreSQL leave out the partitions before it;
// SQLite might take it for a reason to use the primary key.
func (q ledgerQuery) after(floor time.Time) *gorm.DB {
	tx := q.tx.Where("received_at > ?", instant{floor})
	if q.dialect == onPostgres {
		tx = tx.Where("day >= ?", floor.Format(time.DateOnly))
	}
	return tx
}

// above returns the query for the rows that the filter means and that were received after floor.
func (q ledgerQuery) above(floor time.Time) *gorm.DB { return q.filtered(q.after(floor)) }

// upTo returns the query for the others that the filter means.
func (q ledgerQuery) upTo(floor time.Time) *gorm.DB {
	return q.filtered(q.tx.Where("received_at <= ?", instant{floor}))
}

func (q ledgerQuery) filtered(tx *gorm.DB) *gorm.DB {
	tx = tx.Select(ledgerNames)
	if q.filter.Source != (ingest.Source{}) {
		tx = tx.Where("source = ?", q.filter.Source.String())
	}
	if q.filter.Kind != "" {
		tx = tx.Where("kind = ?", q.filter.Kind)
	}
	if q.chats != nil {
		tx = tx.Where("chat_id IN ?", q.chats)
	}
	return tx
}

// ledgerNames is the columns of updates without the bytes; ledgerColumns is all that is read.
var (
	ledgerNames = []string{
		"source", "update_id", "hash", "received_at", "kind", "chat_id", "origin", "format", "layer", "normaliser_version",
		"length(payload) AS size_bytes",
	}
	ledgerColumns = append(slices.Clip(ledgerNames), "request", "payload")
)

// ledgerRow is a row of updates.
type ledgerRow struct {
	Source            string
	UpdateID          int64
	Hash              []byte
	ReceivedAt        instant
	Kind              ingest.Kind
	ChatID            content.ChatID
	Origin            ingest.Origin
	Format            ingest.Format
	Layer             uint32
	NormaliserVersion uint16
	SizeBytes         int
	Request           []byte
	Payload           []byte
}

// TableName is for GORM.
func (ledgerRow) TableName() string { return "updates" }

func findLedgerRows(query *gorm.DB) ([]LedgerRow, error) {
	var found []ledgerRow
	if err := query.Find(&found).Error; err != nil {
		return nil, err
	}
	rows := make([]LedgerRow, len(found))
	for i, r := range found {
		source, err := ingest.ParseSource(r.Source)
		if err != nil {
			return nil, fault.As(fault.Permanent, fmt.Errorf("row of update %d: %w", r.UpdateID, err))
		}
		rows[i] = LedgerRow{
			Source: source, UpdateID: r.UpdateID, ReceivedAt: r.ReceivedAt.Time, Kind: r.Kind, ChatID: r.ChatID,
			Origin: r.Origin, Format: r.Format, Layer: r.Layer, NormaliserVersion: r.NormaliserVersion,
			SizeBytes: r.SizeBytes, Request: r.Request, Payload: r.Payload,
		}
		copy(rows[i].Hash[:], r.Hash)
	}
	return rows, nil
}
