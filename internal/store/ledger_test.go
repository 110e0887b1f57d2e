package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Ledger)
}

func TestLedgerIsSearchedAndNotRead(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		plans, err := open(t).ExplainLedger(t.Context(), time.Now().Add(-time.Minute))
		require.NoError(t, err)
		require.Len(t, plans, 5)
		for name, plan := range plans {
			require.NotContains(t, plan, "Seq Scan", name)
			require.NotContains(t, plan, "SCAN updates", name)
			byTime := strings.Contains(plan, "_received_at_idx") || strings.Contains(plan, "INDEX updates_received_at")
			byKey := strings.Contains(plan, "_pkey") || strings.Contains(plan, "sqlite_autoindex_updates")
			require.Equal(t, name != "show", byTime, "%s:\n%s", name, plan)
			require.Equal(t, name == "show", byKey, "%s:\n%s", name, plan)
		}
	})
}

func TestACursorOfAFastLedgerStaysSmall(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		const most = 10
		db := open(t)
		ledger := db.Remembering(most)
		first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		// All within the time for which a tail waits for late rows.
		record := func(from, to int) {
			var batch content.Batch
			for n := from; n < to; n++ {
				raw := fmt.Appendf(nil, `{"update_id":%d}`, n)
				batch.Changes = append(batch.Changes, content.ChangeSet{Update: content.Update{
					Envelope: ingest.Envelope{
						Source: ingest.Source{Transport: ingest.BotAPI, Account: 1}, Origin: ingest.Live, Format: ingest.BotAPIJSON,
						ReceivedAt: first.Add(time.Duration(n) * time.Millisecond), Raw: raw,
					},
					Hash: ingest.HashOf(raw), UpdateID: int64(n), Kind: "message",
				}})
			}
			_, err := db.Archive().Apply(t.Context(), batch)
			require.NoError(t, err)
		}
		tail := func(after store.Cursor, limit int) (rows int, next store.Cursor) {
			shown, next, err := ledger.Tail(t.Context(), after, limit, store.LedgerFilter{})
			require.NoError(t, err)
			require.LessOrEqual(t, next.Remembered(), most)
			return len(shown), next
		}
		record(0, 8)
		rows, cursor := tail(store.Cursor{}, 2)
		require.Equal(t, 2, rows)
		require.Equal(t, 8, cursor.Remembered())
		record(8, 12)
		rows, cursor = tail(cursor, 3)
		require.Equal(t, 3, rows)
		rows, cursor = tail(cursor, 3)
		require.Equal(t, 1, rows)
		rows, cursor = tail(cursor, 3)
		require.Zero(t, rows)

		rows, begun := tail(store.Cursor{}, 11)
		require.Equal(t, 11, rows)
		rows, _ = tail(begun, 3)
		require.Zero(t, rows)

		record(12, 13)
		rows, _ = tail(cursor, 3)
		require.Equal(t, 1, rows)
		rows, _ = tail(begun, 3)
		require.Equal(t, 1, rows)
	})
}
