package content_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func stamp(change func(*content.Stamp)) content.Version {
	s := content.Stamp{
		Date: noon, Source: ingest.Source{Transport: ingest.BotAPI, Account: 42}, Sequence: 1000,
		Hash: ingest.HashOf([]byte("body")), Normaliser: 1,
	}
	change(&s)
	return content.NewVersion(s)
}

// TestVersionsSortByWhatTelegramSaysFirst lists snapshots from the oldest to the newest: each decides before all that follow it
// in the version are looked at.
func TestVersionsSortByWhatTelegramSaysFirst(t *testing.T) {
	t.Parallel()
	rising := []struct {
		name    string
		version content.Version
	}{
		{"nothing known", ""},
		{"an earlier date, though an edit with a high sequence", stamp(func(s *content.Stamp) {
			s.Date = noon.Add(-time.Second)
			s.Edit = true
			s.Sequence = 1 << 60
		})},
		{"a negative sequence", stamp(func(s *content.Stamp) { s.Sequence = -1 })},
		{"the original", stamp(func(*content.Stamp) {})},
		{"the same read by a newer normaliser", stamp(func(s *content.Stamp) { s.Normaliser = 2 })},
		{"the next sequence", stamp(func(s *content.Stamp) { s.Sequence = 1001 })},
		{"another source", stamp(func(s *content.Stamp) { s.Source.Account = 43 })},
		{"another transport", stamp(func(s *content.Stamp) { s.Source.Transport = ingest.MTProto })},
		{"an edit in the same second", stamp(func(s *content.Stamp) { s.Edit = true })},
		{"the next edit in the same second", stamp(func(s *content.Stamp) { s.Edit, s.Sequence = true, 1001 })},
		{"an undated edit", stamp(func(s *content.Stamp) { s.Edit, s.Undated = true, noon })},
		{"an undated edit days later, after update ids jumped down", stamp(func(s *content.Stamp) {
			s.Edit, s.Undated, s.Sequence = true, noon.Add(8*24*time.Hour), 3
		})},
		{"a dated edit a second later", stamp(func(s *content.Stamp) { s.Date, s.Edit = noon.Add(time.Second), true })},
		{"a far date", stamp(func(s *content.Stamp) { s.Date = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) })},
	}
	for i := 1; i < len(rising); i++ {
		require.Less(t, rising[i-1].version, rising[i].version, "%s < %s", rising[i-1].name, rising[i].name)
	}
}

func TestVersionsOfUpdateIDsSortWithinThreeDays(t *testing.T) {
	t.Parallel()
	undated := func(at time.Time, sequence int64) content.Version {
		return stamp(func(s *content.Stamp) { s.Edit, s.Undated, s.Sequence = true, at, sequence })
	}
	early := noon.Truncate(3 * 24 * time.Hour)
	require.Less(t, undated(early.Add(10*time.Hour), 7), undated(early, 8),
		"within the same days the update_id decides, not the time of receipt")
	require.Less(t, undated(early, 9), undated(early.Add(7*24*time.Hour), 8), "after a week it says nothing")
}

func TestSameSnapshotHasTheSameVersion(t *testing.T) {
	t.Parallel()
	require.Equal(t, stamp(func(*content.Stamp) {}), stamp(func(*content.Stamp) {}))
	require.NotEqual(t, stamp(func(*content.Stamp) {}), stamp(func(s *content.Stamp) { s.Hash[0]++ }))
}

func TestDatesBeforeTheEpochSortFirst(t *testing.T) {
	t.Parallel()
	before := stamp(func(s *content.Stamp) { s.Date = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) })
	require.Less(t, before, stamp(func(*content.Stamp) {}))
}
