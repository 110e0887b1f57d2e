package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// partitions returns the partitions of the ledger with their numbers of rows, without the empty ones when rows is true.
func partitions(t *testing.T, db *store.DB) map[string]int {
	t.Helper()
	rows, err := db.SQL().QueryContext(t.Context(), "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'updates'::regclass")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	counts := map[string]int{}
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		counts[name] = 0
	}
	require.NoError(t, rows.Err())
	for name := range counts {
		var n int
		require.NoError(t, db.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM "+name).Scan(&n))
		counts[name] = n
	}
	return counts
}

func received(id int64, at time.Time) content.ChangeSet {
	raw := []byte(at.String())
	return content.ChangeSet{Update: content.Update{
		Envelope: ingest.Envelope{Source: ingest.Source{Transport: ingest.BotAPI, Account: 1}, ReceivedAt: at, Raw: raw},
		Hash:     ingest.HashOf(raw), UpdateID: id, Kind: "message",
	}}
}

func TestMigrateMakesThePartitionsOfTodayAndTheNextDays(t *testing.T) {
	t.Parallel()
	made := partitions(t, open(t, postgresURL(t)))
	today := time.Now().UTC()
	require.Contains(t, made, "updates_default")
	// One day less than Migrate makes: the test may run on the day after its template was made.
	for i := range 7 {
		require.Contains(t, made, "updates_"+today.AddDate(0, 0, i).Format("20060102"))
	}
}

func TestARowIsInThePartitionOfItsDayInUTC(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	from := time.Date(2030, 12, 31, 23, 0, 0, 0, time.FixedZone("west", -2*3600))
	require.NoError(t, db.Archive().PreparePartitions(t.Context(), from, 2))
	_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{
		received(1, from), received(2, from.Add(22*time.Hour)), received(3, from.Add(24*time.Hour)), received(4, from.Add(-2*time.Hour)),
	}})
	require.NoError(t, err)
	made := partitions(t, db)
	require.Equal(t, []int{2, 1, 1}, []int{made["updates_20310101"], made["updates_20310102"], made["updates_default"]})
}

func TestALatePartitionTakesItsRowsFromTheDefaultOne(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	day := time.Date(2031, 5, 5, 0, 0, 0, 0, time.UTC)
	changes := []content.ChangeSet{received(1, day), received(2, day.Add(24*time.Hour-time.Microsecond)), received(3, day.AddDate(0, 0, 1))}
	_, err := db.Archive().Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
	require.Equal(t, 3, partitions(t, db)["updates_default"])

	for range 2 {
		require.NoError(t, db.Archive().PreparePartitions(t.Context(), day, 1))
		made := partitions(t, db)
		require.Equal(t, []int{2, 1}, []int{made["updates_20310505"], made["updates_default"]})
	}
	outcome, err := db.Archive().Apply(t.Context(), content.Batch{Changes: changes})
	require.NoError(t, err)
	require.Zero(t, outcome.Updates, "the moved rows are still known")
}

func TestPartitionsAreMadeByManyAtOnceWhileOthersWrite(t *testing.T) {
	t.Parallel()
	db := open(t, postgresURL(t))
	day := time.Date(2032, 2, 27, 12, 0, 0, 0, time.UTC)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return db.Archive().PreparePartitions(t.Context(), day, 4) })
	}
	for w := range 3 {
		group.Go(func() error {
			for i := range 40 {
				change := received(int64(w*1000+i), day.AddDate(0, 0, i%4).Add(time.Duration(w*1000+i)*time.Millisecond))
				if _, err := db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	made := partitions(t, db)
	for _, name := range []string{"updates_20320227", "updates_20320228", "updates_20320229", "updates_20320301"} {
		require.Equal(t, 30, made[name], name)
	}
	require.Zero(t, made["updates_default"])
}

func TestSQLiteHasNoPartitions(t *testing.T) {
	t.Parallel()
	db := open(t, sqliteURL(t))
	require.NoError(t, db.Archive().PreparePartitions(t.Context(), time.Now(), 3))
}
