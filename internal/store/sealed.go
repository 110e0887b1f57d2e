package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// Sealed is everything that the database holds sealed (package seal), for whoever seals it again with another key. It opens nothing. Any
// number of goroutines and processes may use it.
type Sealed struct {
	db *DB
}

// Sealed returns the repository of what is sealed.
func (db *DB) Sealed() *Sealed { return &Sealed{db: db} }

// SealedColumn is a column of sealed texts, and the purpose that they are sealed for. An empty text holds nothing.
type SealedColumn struct {
	Table, Column, Purpose string
	// keys are the columns of the primary key: a text, and in some tables a number after it.
	keys []string
}

// String returns the column as `table.column`.
func (c SealedColumn) String() string { return c.Table + "." + c.Column }

// SealedColumns are all columns of sealed texts that are sealed again when keys change. The bytes of updates are not among them: what the
// ledger was given it keeps as it was. Nobody may change the list.
var SealedColumns = []SealedColumn{
	{"bots", "sealed_token", seal.PurposeBotToken, []string{"id"}},
	{"connector_sessions", "sealed", seal.PurposeSession, []string{"connector_id", "version"}},
	{"sign_ins", "sealed_phone", seal.PurposeSignIn, []string{"connector_id"}},
	{"sign_ins", "sealed_code", seal.PurposeSignIn, []string{"connector_id"}},
	{"sign_ins", "sealed_password", seal.PurposeSignIn, []string{"connector_id"}},
	{"sign_ins", "sealed_token", seal.PurposeSignIn, []string{"connector_id"}},
	{"sign_ins", "sealed_code_hash", seal.PurposeSignIn, []string{"connector_id"}},
	{"sign_ins", "sealed_qr", seal.PurposeSignIn, []string{"connector_id"}},
}

// SealedText is one text of a column, and the row that it stands in.
type SealedText struct {
	Text string
	// id and version are the row's key; version is 0 where the key is a text alone.
	id      string
	version int64
}

// Row names the row by the cells of its key, with a slash between them.
func (t *SealedText) Row() string {
	if t.version == 0 {
		return t.id
	}
	return t.id + "/" + strconv.FormatInt(t.version, 10)
}

// Count returns how many texts of column there are under each key's id; "" stands for what is no sealed text.
func (s *Sealed) Count(ctx context.Context, column SealedColumn) (map[string]int, error) {
	counts, err := countKeys(s.db.read(ctx).Raw("SELECT " + s.db.dialect.keyOf(column.Column) + " AS key_id, count(*) AS texts FROM " +
		column.Table + " WHERE " + column.Column + " <> '' GROUP BY 1"))
	if err != nil {
		return nil, fmt.Errorf("count what is sealed in %s: %w", column, classify(err))
	}
	return counts, nil
}

// Page returns, in the order of their keys, up to limit texts of column that are not sealed with the key whose id is current and that come
// after the row of after; the zero SealedText is before all of them.
func (s *Sealed) Page(
	ctx context.Context, column SealedColumn, current string, after SealedText, limit int,
) ([]SealedText, error) {
	version, behind, place := "0", column.keys[0]+" > ?", []any{after.id}
	if len(column.keys) > 1 {
		version, behind, place = column.keys[1], "("+strings.Join(column.keys, ", ")+") > (?, ?)", []any{after.id, after.version}
	}
	var rows []struct {
		ID      string
		Version int64
		Text    string
	}
	err := s.db.read(ctx).Raw(fmt.Sprintf("SELECT %s AS id, %s AS version, %s AS text FROM %s WHERE %s <> '' AND %s <> ? AND %s ORDER BY %s LIMIT ?",
		column.keys[0], version, column.Column, column.Table, column.Column, s.db.dialect.keyOf(column.Column), behind,
		strings.Join(column.keys, ", ")), append(append([]any{current}, place...), limit)...).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read what is sealed in %s: %w", column, classify(err))
	}
	texts := make([]SealedText, len(rows))
	for i, row := range rows {
		texts[i] = SealedText{Text: row.Text, id: row.ID, version: row.Version}
	}
	return texts, nil
}

// Replace puts sealed in the place of text, and reports whether it did: where somebody else has put another text there meanwhile, or
// removed the row, it changes nothing.
func (s *Sealed) Replace(ctx context.Context, column SealedColumn, text SealedText, sealed string) (done bool, err error) {
	err = s.db.write(ctx, func(tx *gorm.DB) error {
		where, cells := strings.Join(column.keys, " = ? AND ")+" = ?", []any{sealed, text.id}
		if len(column.keys) > 1 {
			cells = append(cells, text.version)
		}
		changed := tx.Exec("UPDATE "+column.Table+" SET "+column.Column+" = ? WHERE "+where+" AND "+column.Column+" = ?",
			append(cells, text.Text)...)
		done = changed.RowsAffected > 0
		return changed.Error
	})
	if err != nil {
		return false, fmt.Errorf("seal %s of %s again: %w", column, text.Row(), err)
	}
	return done, nil
}

// CountLedger returns how many updates of the ledger are sealed with each key. It reads the index of the days and sources, and beyond that
// only updates of MTProto sources that have no number of their own, as sealed ones have none.
func (s *Sealed) CountLedger(ctx context.Context) (map[string]int, error) {
	counts, err := countKeys(s.db.sealedInLedger(s.db.read(ctx)))
	if err != nil {
		return nil, fmt.Errorf("count sealed updates of the ledger: %w", classify(err))
	}
	return counts, nil
}

func (db *DB) sealedInLedger(tx *gorm.DB) *gorm.DB {
	return tx.Raw(`WITH RECURSIVE known(day) AS (`+ledgerDays+`), places(day, source) AS (
			SELECT day, (SELECT min(source) FROM updates WHERE day = known.day) FROM known WHERE day IS NOT NULL
			UNION ALL
			SELECT day, (SELECT min(source) FROM updates WHERE day = places.day AND source > places.source) FROM places WHERE source IS NOT NULL)
		SELECT `+db.dialect.keyOf(db.dialect.textOf("u.payload"))+` AS key_id, count(*) AS texts
		FROM places p CROSS JOIN updates u
		WHERE p.source LIKE 'mtproto:%' AND u.day = p.day AND u.source = p.source AND u.update_id = 0 AND u.format = ? AND length(u.payload) > 0
		GROUP BY 1`, ingest.SealedTL)
}

// CountDeadLetters returns how many dead letters are updates that are sealed with each key.
func (s *Sealed) CountDeadLetters(ctx context.Context) (map[string]int, error) {
	counts, err := countKeys(s.db.read(ctx).Raw("SELECT "+s.db.dialect.keyOf(s.db.dialect.textOf("payload"))+
		" AS key_id, count(*) AS texts FROM dead_letters WHERE format = ? AND length(payload) > 0 GROUP BY 1", ingest.SealedTL))
	if err != nil {
		return nil, fmt.Errorf("count sealed dead letters: %w", classify(err))
	}
	return counts, nil
}

// Spooled returns up to limit batches of the spool, as they were put, whose ids are above after, and the id of the last of them. Nobody's claim
// is touched.
func (s *Sealed) Spooled(ctx context.Context, after int64, limit int) (payloads [][]byte, last int64, err error) {
	var rows []spoolRow
	err = s.db.read(ctx).Raw("SELECT id, payload FROM spool WHERE id > ? ORDER BY id LIMIT ?", after, limit).Scan(&rows).Error
	if err != nil {
		return nil, after, fmt.Errorf("read spool: %w", classify(err))
	}
	last = after
	for i := range rows {
		payloads, last = append(payloads, rows[i].Payload), rows[i].ID
	}
	return payloads, last, nil
}

// keyOf returns the expression for the key's id in a sealed text, `v1.<key id>.<base64url>`, and for ” in another text.
func (d dialect) keyOf(text string) string {
	if d == onSQLite {
		rest := "substr(" + text + ", 4)"
		return "CASE WHEN substr(" + text + ", 1, 3) = 'v1.' THEN substr(" + rest + ", 1, max(0, instr(" + rest + ", '.') - 1)) ELSE '' END"
	}
	return "CASE WHEN left(" + text + ", 3) = 'v1.' THEN split_part(" + text + ", '.', 2) ELSE '' END"
}

func countKeys(query *gorm.DB) (map[string]int, error) {
	var rows []struct {
		KeyID string
		Texts int
	}
	if err := query.Scan(&rows).Error; err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, row := range rows {
		counts[row.KeyID] = row.Texts
	}
	return counts, nil
}
