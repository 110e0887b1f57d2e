package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
)

// outageFor is how long each store is away in the long outage; `make outage` sets it.
var outageFor = flag.Duration("outage", 20*time.Second, "how long each store is away in TestFleetOutlivesALongOutage")

const (
	// longRate is how many updates a second come during a long outage.
	longRate = 200
	// warmUp is for how long the fleet serves before its memory is looked at.
	warmUp = 5 * time.Second
	// memoryGrows is by how many MB the api may grow over a long outage: Go's garbage, and nothing that waits.
	memoryGrows = 40
)

// TestFleetOutlivesALongOutage takes Redis away for a while, and then PostgreSQL, while updates come in.
func TestFleetOutlivesALongOutage(t *testing.T) {
	t.Parallel()
	database, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{Settings: []string{"synchronous_commit=on"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Stop()) })
	redis := localtest.Redis(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	f := newFleetOn(t, database.URL("postgres"), redis)
	f.addBots(people[0].token)
	f.startAPI()
	f.startWorker()
	f.startWorker()
	s := f.stream(longRate)
	watched := f.watchHealth()
	f.watchMemory(warmUp)
	start := f.api.memory().rss

	for _, one := range []struct {
		name       string
		begin, end func() error
	}{
		{"Redis", redis.Kill, func() error { return redis.Restart(context.Background()) }},
		{"PostgreSQL", database.Kill, func() error { return database.Restart(context.Background()) }},
	} {
		began := time.Now()
		require.NoError(t, one.begin())
		most := f.watchMemory(*outageFor)
		require.NoError(t, one.end())
		back := time.Now()
		during := s.sentSince(began)
		took := s.allCommitted(f, max(recoverWithin, 3**outageFor)).Sub(back)
		t.Logf("%s away for %s: answers by status %v, p50 %s, p99 %s, longest %s; memory of the api %.0f MB at the start, %.0f at most, "+
			"%.0f at the end; all committed %s after the end", one.name, *outageFor, statuses(during), slowest(during, 0.5),
			slowest(during, 0.99), slowest(during, 1), start, most, f.api.memory().rss, took.Round(100*time.Millisecond))
		require.Less(t, most, start+memoryGrows, "the api keeps something")
	}
	s.end()
	watched()
	require.Equal(t, map[int]int{http.StatusOK: len(s.all())}, statuses(s.all()))
	f.settled(max(recoverWithin, *outageFor))
	s.requireKept(f, 0)
	for _, p := range f.servers {
		require.False(t, p.hasEnded(), "%s has ended", p.name)
	}
}

// watchMemory lets time pass and returns the most memory that the api took, in MB.
func (f *fleet) watchMemory(during time.Duration) (most float64) {
	f.t.Helper()
	over := time.NewTimer(during)
	defer over.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		most = max(most, f.api.memory().rss)
		select {
		case <-over.C:
			return most
		case <-tick.C:
		}
	}
}

// allCommitted waits until everything that was acknowledged until now is in the ledger, and returns when it was. It looks once a
// second, because counting keeps the database from its work.
func (s *stream) allCommitted(f *fleet, within time.Duration) time.Time {
	s.t.Helper()
	last, acknowledged := int64(0), s.acknowledged()
	for id := range acknowledged {
		last = max(last, id)
	}
	query := fmt.Sprintf("SELECT count(*) FROM updates WHERE update_id <= %d", last)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		kept := f.db.count(query)
		if kept >= len(acknowledged) {
			return time.Now()
		}
		require.Less(s.t, time.Since(start), within, "%d of %d updates are committed", kept, len(acknowledged))
	}
}
