package tasks_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

func TestWorkerTellsHowManyDeadLettersAreOpen(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	var letters []ingest.DeadLetter
	for i, class := range []string{"malformed", "malformed", "crashed_worker", "of_a_newer_program", "of_an_older_program"} {
		letters = append(letters, ingest.DeadLetter{Envelope: message(i + 1), UpdateID: int64(i + 1), Class: class, DiedAt: time.Now()})
	}
	_, err := w.db.Archive().Apply(t.Context(), content.Batch{DeadLetters: letters})
	require.NoError(t, err)
	housekeeping := tasks.NewHousekeeping(tasks.HousekeepingConfig{
		Ledger: w.db.Archive(), DeadLetters: w.db.DeadLetters(), Now: time.Now, Log: slog.New(slog.NewJSONHandler(w.log, nil)),
		Registerer: w.registry, Beat: obs.NewHealth().Loop("housekeeping", time.Minute),
	})
	open := func(class string) float64 { return w.metric("tgfleet_archive_dead_letters_open", class) }
	require.Zero(t, open("malformed"))
	queuetest.Run(t, lifecycle.Service{Name: "housekeeping", Run: housekeeping.Run})
	sees := func(malformed, crashed, other float64) func() bool {
		return func() bool {
			return open("malformed") == malformed && open("crashed_worker") == crashed && open("other") == other
		}
	}
	require.Eventually(t, sees(2, 1, 2), queuetest.Within, 5*time.Millisecond)

	w.exec(`ALTER TABLE dead_letters RENAME TO dead_letters_elsewhere`)
	told := func(what string) func() bool { return func() bool { return strings.Contains(w.log.String(), what) } }
	require.Eventually(t, told("dead letters not counted"), queuetest.Within, 5*time.Millisecond)
	require.True(t, sees(2, 1, 2)(), "what can't be counted stays as it was")

	w.exec(`ALTER TABLE dead_letters_elsewhere RENAME TO dead_letters`)
	w.exec(`DELETE FROM dead_letters WHERE class IN ('malformed', 'of_a_newer_program')`)
	require.Eventually(t, sees(0, 1, 1), queuetest.Within, 5*time.Millisecond)
	require.Eventually(t, told("dead letters counted again"), queuetest.Within, 5*time.Millisecond)
}
