package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

// BenchmarkApply compares Apply on PostgreSQL with the least that any program could do: the same rows, made beforehand, sent by plain
// pgx as one unnest a table in one transaction. Both write into the same tables in turns; ratio is Apply's speed over the raw one.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			ctx, traffic := b.Context(), newTraffic()
			// One connection serves both, because server processes differ in what they have cached.
			db, err := store.Open(ctx, seal.Secret(server.Database(b)), store.Options{MaxConns: 1})
			require.NoError(b, err)
			defer func() { require.NoError(b, db.Close()) }()

			archive := db.Archive()
			var applying, writing time.Duration
			turn := 0
			for b.Loop() {
				batch := traffic.batch(size)
				tables := store.RowsOf(traffic.batch(size))
				statements := statementsOf(tables)
				apply := func() error {
					_, err := archive.Apply(ctx, batch)
					return err
				}
				write := func() error { return writeRaw(ctx, db.SQL(), tables, statements) }
				// Whoever comes second finds the processor's caches warm.
				if turn++; turn%2 == 0 {
					applying += timed(b, apply)
					writing += timed(b, write)
				} else {
					writing += timed(b, write)
					applying += timed(b, apply)
				}
			}
			updates := float64(b.N * size)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(updates/applying.Seconds(), "applied/s")
			b.ReportMetric(updates/writing.Seconds(), "raw/s")
			b.ReportMetric(writing.Seconds()/applying.Seconds(), "ratio")
		})
	}
}

func timed(b *testing.B, do func() error) time.Duration {
	b.Helper()
	started := time.Now()
	err := do()
	took := time.Since(started)
	require.NoError(b, err)
	return took
}

// writeRaw writes tables through plain pgx.
func writeRaw(ctx context.Context, pool *sql.DB, tables []store.Rows, statements []string) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	err = conn.Raw(func(driver any) error {
		bare, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("driver %T is not pgx's", driver)
		}
		return pgx.BeginFunc(ctx, bare.Conn(), func(tx pgx.Tx) error {
			for i, rows := range tables {
				if statements[i] == "" {
					continue
				}
				if _, err := tx.Exec(ctx, statements[i], rows.Arrays...); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return errors.Join(err, conn.Close())
}

// statementsOf returns an insert for each table that has rows: plain where the keys are new, and overwriting for chats and users.
func statementsOf(tables []store.Rows) []string {
	statements := make([]string, len(tables))
	for i, rows := range tables {
		if rows.Count == 0 {
			continue
		}
		arrays, cells, sets := make([]string, 0, 32), make([]string, 0, 32), make([]string, 0, 32)
		for j, name := range rows.Columns {
			arrays = append(arrays, fmt.Sprintf("$%d::%s[]", j+1, rows.Elements[j]))
			cell := "r." + name
			if rows.Casts[j] != "" {
				cell += "::" + rows.Casts[j]
			}
			cells, sets = append(cells, cell), append(sets, name+" = excluded."+name)
		}
		columns := strings.Join(rows.Columns, ", ")
		statements[i] = fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM unnest(%s) AS r (%s)",
			rows.Table, columns, strings.Join(cells, ", "), strings.Join(arrays, ", "), columns)
		if rows.Table == "chats" || rows.Table == "users" {
			statements[i] += " ON CONFLICT (id) DO UPDATE SET " + strings.Join(sets[1:], ", ")
		}
	}
	return statements
}

// traffic makes updates like those of busy groups: 200 people in 50 chats, bodies of some 950 bytes, now and then a photo, a reply,
// a marked text.
type traffic struct {
	random *rand.Rand
	sent   int64
	start  time.Time
}

func newTraffic() *traffic {
	return &traffic{random: rand.New(rand.NewPCG(1, 2)), start: time.Now().UTC().Truncate(time.Second)}
}

func (tr *traffic) batch(size int) content.Batch {
	changes := make([]content.ChangeSet, size)
	for i := range changes {
		changes[i] = tr.update()
	}
	return content.Batch{Changes: changes}
}

func (tr *traffic) update() content.ChangeSet {
	tr.sent++
	user, chat := content.UserID(5_000_000+tr.random.IntN(200)), content.ChatID(-1_001_000_000_000-tr.random.Int64N(50))
	at := tr.start.Add(time.Duration(tr.sent) * time.Millisecond)
	text := tr.words(120)
	raw := fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%d,"text":%q,"more":%q}}`, tr.sent, tr.sent, text, tr.words(720))
	env := ingest.Envelope{
		Source: ingest.Source{Transport: ingest.BotAPI, Account: 7_000_000_001}, ReceivedAt: at, Origin: ingest.Live,
		Format: ingest.BotAPIJSON, Raw: raw,
	}
	hash := ingest.HashOf(raw)
	version := content.NewVersion(content.Stamp{Date: at, Source: env.Source, Sequence: tr.sent, Hash: hash, Normaliser: 1})
	m := content.Message{
		Key: content.MessageKey{ChatID: chat, MessageID: content.MessageID(tr.sent)}, Version: version, Kind: "text", NormaliserVersion: 1,
		FromID: user, Date: at, Text: text,
	}
	if tr.random.IntN(5) == 0 {
		m.ReplyTo.MessageID = m.Key.MessageID - 1
	}
	if tr.random.IntN(4) == 0 {
		m.Entities = []content.Entity{{Type: "mention", Offset: 3, Length: 9}, {Type: "url", Offset: 20, Length: 30}}
	}
	if tr.random.IntN(8) == 0 {
		name := fmt.Sprintf("AQADAgAT%d", tr.sent)
		m.Kind, m.Media = "photo", []content.Media{{
			Kind: "photo", FileUniqueID: name, FileID: name + strings.Repeat("x", 60), SizeBytes: 123456, Width: 1280, Height: 960,
		}}
	}
	return content.ChangeSet{
		Update: content.Update{Envelope: env, Hash: hash, UpdateID: tr.sent, Kind: "message", ChatID: chat, NormaliserVersion: 1},
		Chats: []content.Chat{{
			ID: chat, Version: version, Type: content.Supergroup, Title: fmt.Sprint("A chat of friends ", chat), Username: "friends",
		}},
		Users: []content.User{{
			ID: user, Version: version, FirstName: "Anna", LastName: fmt.Sprint("Person ", user), Username: fmt.Sprint("anna", user),
			LanguageVersion: version, LanguageCode: "en",
		}},
		Messages: []content.Message{m},
	}
}

// words returns text of about size bytes.
func (tr *traffic) words(size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(strings.Repeat(string(rune('a'+tr.random.IntN(26))), 1+tr.random.IntN(9)))
		b.WriteByte(' ')
	}
	return b.String()
}
