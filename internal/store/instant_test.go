package store

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzInstant reads whatever text may stand in a column with a time. What it reads it can write and read again, and what it writes sorts as
// the times do.
func FuzzInstant(f *testing.F) {
	f.Add("2026-11-23 08:30:00.000001+00:00", "2026-11-23 08:30:00.100000+00:00")
	f.Add("0001-01-01 00:00:00.000000+00:00", "9999-12-31 23:59:59.999999+00:00")
	f.Add("2026-11-23 08:30:00+00:00", "2026-11-23T08:30:00.000000Z")
	f.Add("2026-11-23 8:30:00.000001+00:00", "2026-11-23 08:30:00,000002+00:00")
	f.Add("2026-02-30 08:30:00.000000+00:00", "a name that nobody may read")
	f.Fuzz(func(t *testing.T, one, other string) {
		first, firstWritten := scanned(t, one)
		second, secondWritten := scanned(t, other)
		if first.IsZero() || second.IsZero() {
			return
		}
		require.Equal(t, first.Compare(second.Time), strings.Compare(firstWritten, secondWritten))
	})
}

// scanned returns the time that text is read as and what it is written as; the zero instant where it is no time.
func scanned(t *testing.T, text string) (read instant, written string) {
	t.Helper()
	read.Time = time.Unix(1, 0)
	if err := read.Scan(text); err != nil {
		require.EqualError(t, err, "time in a row is not written as 2006-01-02 15:04:05.000000+00:00", "it quotes nothing")
		return instant{}, ""
	}
	require.Equal(t, time.UTC, read.Location())
	if read.IsZero() {
		return instant{}, ""
	}
	value, err := read.Value()
	require.NoError(t, err)
	written, isText := value.(string)
	require.True(t, isText)
	require.Len(t, written, len(instantLayout))
	var again instant
	require.NoError(t, again.Scan(written))
	require.Equal(t, read, again)
	return read, written
}
