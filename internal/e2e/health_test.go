package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	queueAge = `tgfleet_queue_oldest_age_seconds{class="ingest"}`
	// agesFor is how long the ages are watched: several tries of every task, and the pauses between them.
	agesFor = 8 * time.Second
)

// TestWorkerWhoseCommitHangsIsHealthyAndReady holds a table, so that a handler waits. Each commit has its bound and the loops go on, so
// that nothing is wrong with the process, and to start it again would help nobody; that updates wait is for the age to tell.
func TestWorkerWhoseCommitHangsIsHealthyAndReady(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	free := f.db.hold("updates")
	defer free()
	sent := time.Now()
	require.Equal(t, http.StatusOK, f.send(f.bots[0], hello(1)))
	answered := time.Now()
	f.becomes(0, 1)
	for time.Since(answered) < 10*while {
		for _, s := range f.servers {
			for _, path := range []string{"/health", "/ready"} {
				got, err := get(context.Background(), s.url+path)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, got.status, "%s of %s: %s", path, s.name, got.body)
			}
			s.requireAge(sent, answered)
		}
	}
	free()
	f.settled(time.Minute)
	for _, s := range f.servers {
		eventually(t, time.Minute, func(context.Context) error {
			if age := s.scrape()[queueAge]; age != 0 {
				return fmt.Errorf("%s: nothing waits, and it is %f s old", s.name, age)
			}
			return nil
		})
	}
}

// requireAge fails unless the process says that the oldest update in the queue is as old as one that was sent and answered then.
func (s *server) requireAge(sent, answered time.Time) {
	s.t.Helper()
	// Both processes' clocks are this machine's; asynq's and Redis's own times are cut to milliseconds.
	const slack = 50 * time.Millisecond
	asked := time.Now()
	age, told := s.scrape()[queueAge]
	require.True(s.t, told, "%s does not tell the age", s.name)
	require.GreaterOrEqual(s.t, age, (asked.Sub(answered) - slack).Seconds(), s.name)
	require.LessOrEqual(s.t, age, (time.Since(sent) + slack).Seconds(), s.name)
}

// TestAgesGoOnGrowingWhileTheDatabaseIsAway asks every process for the age of the oldest update, while its task is tried again and again,
// and then while Redis does not answer either.
func TestAgesGoOnGrowingWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	o := newOutages(t)
	o.stream.pause()
	o.settled(recoverWithin)
	require.NoError(t, o.database.Kill())
	sent := time.Now()
	o.stream.goOn()
	o.stream.answered(1)
	answered := time.Now()
	watch := func(during time.Duration) {
		t.Helper()
		tick := time.NewTicker(5 * lookEvery)
		defer tick.Stop()
		for start := time.Now(); time.Since(start) < during; <-tick.C {
			for _, s := range o.servers {
				s.requireAge(sent, answered)
			}
		}
	}
	watch(agesFor)
	require.NoError(t, o.redis.Pause())
	watch(agesFor / 4)
	require.NoError(t, o.redis.Resume())
	require.NoError(t, o.database.Restart(t.Context()))
	o.finish(0)
}
