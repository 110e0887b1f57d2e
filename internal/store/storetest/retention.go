package storetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Retention checks which days of the ledger go, which stay and why, both of days that were prepared and of others.
func Retention(t *testing.T, open OpenSQL) {
	rules := map[string]func(t *testing.T, l *oldLedger){
		"a day goes once the whole of it is older":             wholeDaysGo,
		"a retention of nothing keeps all":                     nothingGoesWithoutRetention,
		"a clock that is ahead drops no day too early":         fastClockDropsNothing,
		"what was made of the updates stays":                   archiveOutlivesLedger,
		"an event that somebody has not taken keeps a day":     eventsKeepDays,
		"an event without its update's time counts by its own": undatedEventsKeepDays,
		"a dead letter keeps its day":                          lettersKeepDays,
		"a running replay keeps the days of its range":         replaysKeepDays,
		"a day of many rows goes whole":                        manyRowsGo,
		"a caller who has gone trims nothing":                  goneCallerTrimsNothing,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		for prepared, how := range map[bool]string{true: "prepared", false: "as they came"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				rules[name](t, &oldLedger{archive: openArchive(t, open), prepared: prepared})
			})
		}
	}
}

// oldLedger is a ledger of days that are long ago.
type oldLedger struct {
	*archive
	prepared bool
	last     int64
}

// someDay is the day of received.
var someDay = received.Truncate(24 * time.Hour)

// days is the day that lies n days after someDay.
func days(n int) time.Time { return someDay.AddDate(0, 0, n) }

// has writes an update, with a message, into each of these days: one in its first and one in its last microsecond.
func (l *oldLedger) has(t *testing.T, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		l.prepare(t, n)
		l.receive(t, days(n), days(n+1).Add(-time.Microsecond))
	}
}

func (l *oldLedger) prepare(t *testing.T, n int) {
	t.Helper()
	if l.prepared {
		require.NoError(t, l.PreparePartitions(t.Context(), days(n), 1))
	}
}

// receive writes an update with a message of its own for each of times, at which it was received.
func (l *oldLedger) receive(t *testing.T, times ...time.Time) {
	t.Helper()
	changes := make([]content.ChangeSet, len(times))
	for i, at := range times {
		l.last++
		changes[i] = photo(l.last, 0)
		changes[i].Messages[0].Key.MessageID = content.MessageID(l.last)
		changes[i].Update.Envelope.ReceivedAt = at
	}
	require.Equal(t, len(times), l.apply(t, changes...).Updates)
}

// trim trims the ledger at a time and returns which days went and which were kept, both counted from someDay.
func (l *oldLedger) trim(t *testing.T, now time.Time, retention time.Duration) (dropped []int, kept map[int]ingest.KeptFor) {
	t.Helper()
	trimmed, err := l.TrimLedger(t.Context(), now, retention)
	require.NoError(t, err)
	require.Zero(t, trimmed.Undecided)
	number := func(day time.Time) int { return int(day.Sub(someDay) / (24 * time.Hour)) }
	for _, day := range trimmed.Dropped {
		dropped = append(dropped, number(day))
	}
	kept = map[int]ingest.KeptFor{}
	for day, why := range trimmed.Kept {
		kept[number(day)] = why
	}
	return dropped, kept
}

// left returns the days that the ledger has rows of.
func (l *oldLedger) left(t *testing.T) (left []int) {
	t.Helper()
	for n := range 100 {
		var rows int
		l.row(t, "SELECT count(*) FROM updates WHERE day = '"+days(n).Format(time.DateOnly)+"'", &rows)
		if rows > 0 {
			left = append(left, n)
		}
	}
	return left
}

// twoDays is a retention, and afterwards a time at which it is over for days 0 to 3 and for no others.
const twoDays = 48 * time.Hour

var afterwards = days(6)

func wholeDaysGo(t *testing.T, l *oldLedger) {
	l.has(t, 0, 1, 2, 3, 4)
	for _, step := range []struct {
		now     time.Time
		dropped []int
		left    []int
	}{
		{days(3).Add(-time.Microsecond), nil, []int{0, 1, 2, 3, 4}},
		{days(3), []int{0}, []int{1, 2, 3, 4}},
		{days(4).Add(-time.Microsecond), nil, []int{1, 2, 3, 4}},
		{days(4).In(time.FixedZone("east", 14*3600)), []int{1}, []int{2, 3, 4}},
		{days(6), []int{2, 3}, []int{4}},
		{days(6), nil, []int{4}},
	} {
		dropped, kept := l.trim(t, step.now, twoDays)
		require.Equal(t, step.dropped, dropped, step.now)
		require.Empty(t, kept)
		require.Equal(t, step.left, l.left(t), step.now)
	}
	l.receive(t, days(1), days(4))
	dropped, _ := l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{1}, dropped, "what comes late goes as well")
	var n int
	l.row(t, "SELECT count(*) FROM updates", &n)
	require.Equal(t, 3, n, "rows of kept days stay")
}

func nothingGoesWithoutRetention(t *testing.T, l *oldLedger) {
	l.has(t, 0)
	dropped, kept := l.trim(t, days(1000), 0)
	require.Empty(t, dropped)
	require.Empty(t, kept)
	require.Equal(t, []int{0}, l.left(t))
}

func fastClockDropsNothing(t *testing.T, l *oldLedger) {
	now := time.Now()
	l.receive(t, now.Add(-5*24*time.Hour), now.Add(-24*time.Hour), now, now.Add(5*24*time.Hour))
	trimmed, err := l.TrimLedger(t.Context(), now.AddDate(50, 0, 0), twoDays)
	require.NoError(t, err)
	require.Len(t, trimmed.Dropped, 1)
	require.Equal(t, 3, l.count(t, "updates"))
}

func archiveOutlivesLedger(t *testing.T, l *oldLedger) {
	l.has(t, 0)
	before := l.dump(t)
	delete(before, "updates")
	l.trim(t, afterwards, twoDays)
	require.Zero(t, l.count(t, "updates"))
	after := l.dump(t)
	delete(after, "updates")
	require.Equal(t, before, after)
	require.NotEmpty(t, after["messages"])
}

func eventsKeepDays(t *testing.T, l *oldLedger) {
	l.has(t, 0, 1, 2)
	var first, second int
	l.row(t, "SELECT max(sequence) FROM platform_events WHERE received_at < '"+days(1).Format(time.DateOnly)+"'", &first)
	l.row(t, "SELECT max(sequence) FROM platform_events WHERE received_at < '"+days(2).Format(time.DateOnly)+"'", &second)
	l.exec(t, fmt.Sprintf("INSERT INTO subscribers (name, relayed_through) VALUES ('slow', %d), ('fast', 1000000)", first-1))

	dropped, kept := l.trim(t, afterwards, twoDays)
	require.Empty(t, dropped)
	require.Equal(t, map[int]ingest.KeptFor{0: ingest.KeptForEvents, 1: ingest.KeptForEvents, 2: ingest.KeptForEvents}, kept)
	require.Equal(t, []int{0, 1, 2}, l.left(t))

	l.exec(t, fmt.Sprintf("UPDATE subscribers SET relayed_through = %d WHERE name = 'slow'", second))
	dropped, kept = l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{0, 1}, dropped)
	require.Equal(t, map[int]ingest.KeptFor{2: ingest.KeptForEvents}, kept)

	l.exec(t, "DELETE FROM subscribers")
	dropped, _ = l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{2}, dropped, "without subscribers nothing is owed")
}

func undatedEventsKeepDays(t *testing.T, l *oldLedger) {
	l.has(t, 0, 1)
	l.exec(t, "INSERT INTO subscribers (name, relayed_through) VALUES ('slow', 0)")
	l.exec(t, "UPDATE platform_events SET received_at = NULL, created_at = '"+days(1).Format("2006-01-02 15:04:05.000000+00:00")+"'")
	dropped, kept := l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{0}, dropped)
	require.Equal(t, map[int]ingest.KeptFor{1: ingest.KeptForEvents}, kept)
}

func lettersKeepDays(t *testing.T, l *oldLedger) {
	l.has(t, 0, 1, 2)
	letter := func(id int64, at time.Time) ingest.DeadLetter {
		change := update(id)
		change.Update.Envelope.ReceivedAt = at
		change.Update.Envelope.Raw = fmt.Appendf(nil, "letter %d", id)
		return ingest.DeadLetter{Envelope: change.Update.Envelope, UpdateID: id, Class: "malformed", DiedAt: days(50)}
	}
	_, err := l.Apply(t.Context(), content.Batch{DeadLetters: []ingest.DeadLetter{
		letter(1001, days(0)), letter(1002, days(2).Add(-time.Microsecond)), letter(1003, days(3)),
	}})
	require.NoError(t, err)
	dropped, kept := l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{2}, dropped)
	require.Equal(t, map[int]ingest.KeptFor{0: ingest.KeptForDeadLetters, 1: ingest.KeptForDeadLetters}, kept)
	require.Equal(t, []int{0, 1}, l.left(t))
	l.exec(t, "DELETE FROM dead_letters WHERE update_id = 1002")
	dropped, _ = l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{1}, dropped)
}

func replaysKeepDays(t *testing.T, l *oldLedger) {
	date := func(at time.Time) string { return "'" + at.UTC().Format("2006-01-02 15:04:05.000000+00:00") + "'" }
	const never = "NULL"
	held, released := date(time.Now().Add(time.Hour)), date(time.Now().Add(-time.Second))
	l.has(t, 0, 1, 2, 3)
	for _, c := range []struct {
		from, to, heldUntil, finished string
		kept                          []int
	}{
		{never, never, held, never, []int{0, 1, 2, 3}},
		{date(days(1)), date(days(2)), held, never, []int{1}},
		{date(days(2).Add(-time.Microsecond)), date(days(2).Add(time.Microsecond)), held, never, []int{1, 2}},
		{never, date(days(1)), held, never, []int{0}},
		{date(days(3)), never, held, never, []int{3}},
		{date(days(3)), never, released, never, nil},
	} {
		l.exec(t, "DELETE FROM replays")
		l.exec(t, "INSERT INTO replays (normaliser_version, received_from, received_to, source, kind, started_at, held_until, finished_at)"+
			" VALUES (1, "+c.from+", "+c.to+", '', '', "+released+", "+c.heldUntil+", "+c.finished+")")
		for _, n := range []int{0, 1, 2, 3} {
			l.prepare(t, n)
			l.receive(t, days(n))
		}
		want := map[int]ingest.KeptFor{}
		for _, n := range c.kept {
			want[n] = ingest.KeptForReplay
		}
		_, kept := l.trim(t, afterwards, twoDays)
		require.Equal(t, want, kept)
		require.Equal(t, c.kept, l.left(t))
		l.exec(t, "UPDATE replays SET finished_at = "+released)
		dropped, kept := l.trim(t, afterwards, twoDays)
		require.Equal(t, c.kept, dropped)
		require.Empty(t, kept, "a replay that has ended keeps nothing")
	}
}

func manyRowsGo(t *testing.T, l *oldLedger) {
	l.has(t, 0, 4)
	times := make([]time.Time, 1200)
	for i := range times {
		times[i] = days(0).Add(time.Duration(i) * time.Second)
	}
	l.receive(t, times...)
	dropped, _ := l.trim(t, afterwards, twoDays)
	require.Equal(t, []int{0}, dropped)
	require.Equal(t, []int{4}, l.left(t))
}

func goneCallerTrimsNothing(t *testing.T, l *oldLedger) {
	l.has(t, 0)
	ctx, cancel := contextOf(t)
	cancel()
	_, err := l.TrimLedger(ctx, afterwards, twoDays)
	require.Error(t, err)
	require.Equal(t, []int{0}, l.left(t))
}
