package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
)

const (
	// flushBound is how long the flush that meets an outage may take: half a second for the queue and two for the spool. Nobody
	// waits longer than for the flush before his own and for his own.
	flushBound = 2500 * time.Millisecond
	// fewFlushes is how many flushes may meet an outage before it is known; each costs somebody time. A store that comes and goes
	// while it starts may be met twice.
	fewFlushes = 3
	// recoverWithin is how long a fleet may take until it has worked off a short outage: the longest pause between two tries, and
	// the work.
	recoverWithin = 90 * time.Second
)

// outages is a fleet with a stream of updates, to which one outage after the other happens.
type outages struct {
	*fleet
	t        *testing.T
	stream   *stream
	database *localservers.Postgres
	raw      *redis.Client
	// include is a file that Redis reads more settings from when it starts.
	include string
}

// newOutages starts an api, two workers and servers of their own that keep what they have confirmed over a crash, and a stream.
func newOutages(t *testing.T) *outages {
	t.Helper()
	database, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{
		Settings: []string{"synchronous_commit=on", "max_connections=60"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Stop()) })
	include := t.TempDir() + "/redis.conf"
	writeFile(t, include, "")
	server := localtest.Redis(t, localservers.RedisOptions{
		AppendOnly: true, Fsync: "always", Args: []string{"--include", include},
	})
	o := &outages{
		fleet: newFleetOn(t, database.URL("postgres"), server), t: t, database: database, include: include,
		raw: redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1}),
	}
	t.Cleanup(func() { require.NoError(t, o.raw.Close()) })
	o.addBots(people[0].token)
	o.startAPI()
	o.startWorker()
	o.startWorker()
	o.stream = o.fleet.stream(100)
	o.stream.answered(50)
	return o
}

// taker is the store that takes updates during an outage.
type taker string

const (
	queueTakes   taker = "queue"
	spoolTakes   taker = "spool"
	nothingTakes taker = ""
)

// outage is one of them. begin and end return when it has begun and ended.
type outage struct {
	name       string
	takes      taker
	begin, end func()
	// redis and postgres say which servers are away.
	redis, postgres bool
}

// answersEach is how many updates are answered at least during an outage, and after it before it counts as over.
const (
	answersDuring = 120
	answersAfter  = 30
)

// suffers lets outages happen one after the other.
func (o *outages) suffers(all ...outage) {
	o.t.Helper()
	for _, one := range all {
		if !o.t.Run(one.name, func(*testing.T) { o.suffer(one) }) {
			o.t.FailNow()
		}
	}
}

func (o *outages) suffer(one outage) {
	o.t.Helper()
	watched := o.watchHealth()
	before := o.api.scrape()
	one.begin()
	during := o.stream.answered(answersDuring)
	o.requireAnswers(one, during)
	o.requireReadiness(one)
	o.requireFewFlushes(one, before)
	one.end()
	o.recovers(one)
	watched()
	o.t.Logf("%s: answers %v, slowest %s", one.name, statuses(during), slowest(during, 1).Round(time.Millisecond))
}

// requireAnswers fails unless updates were answered as they must be while one lasts.
func (o *outages) requireAnswers(one outage, during []reply) {
	o.t.Helper()
	want := http.StatusOK
	if one.takes == nothingTakes {
		want = http.StatusServiceUnavailable
	}
	for _, r := range during {
		require.Equal(o.t, want, r.status, "answers: %v", statuses(during))
		if want == http.StatusServiceUnavailable {
			require.Equal(o.t, "2", r.retryAfter)
		}
	}
	require.Less(o.t, slowest(during, 1), 3*2*flushBound)
}

// requireReadiness fails unless every process says whether it can serve.
func (o *outages) requireReadiness(one outage) {
	o.t.Helper()
	expectReady := func(s *server, unready ...string) {
		o.t.Helper()
		eventually(o.t, startWithin, func(ctx context.Context) error {
			got, err := get(ctx, s.url+"/ready")
			if err != nil {
				return err
			}
			want := http.StatusOK
			if len(unready) > 0 {
				want = http.StatusServiceUnavailable
			}
			for _, name := range unready {
				if !strings.Contains(got.body, `"`+name+`"`) {
					return fmt.Errorf("%s does not name %s: %d %s", s.name, name, got.status, got.body)
				}
			}
			if got.status != want {
				return fmt.Errorf("%s: /ready is %d, want %d: %s", s.name, got.status, want, got.body)
			}
			return nil
		})
	}
	var unready []string
	if one.redis {
		unready = append(unready, "queue")
	}
	if one.postgres {
		unready = append(unready, "database")
	}
	for _, worker := range o.workers {
		expectReady(worker, unready...)
	}
	if one.takes == nothingTakes {
		expectReady(o.api, "durable")
	} else {
		expectReady(o.api)
	}
}

// requireFewFlushes fails when updates were spent on finding out that a store is still away.
func (o *outages) requireFewFlushes(one outage, before series) {
	o.t.Helper()
	now := o.api.scrape()
	for _, store := range []string{"queue", "spool"} {
		label := `store="` + store + `"`
		met := now.sum("tgfleet_accept_flush_errors_total", label) - before.sum("tgfleet_accept_flush_errors_total", label)
		require.LessOrEqual(o.t, met, fewFlushes, "flushes that met the outage of the %s", store)
	}
	if one.takes == spoolTakes {
		label := `result="spool"`
		require.Greater(o.t, now.sum("tgfleet_accept_updates_total", label), before.sum("tgfleet_accept_updates_total", label))
	}
}

// recovers waits until every process serves as before. What was acknowledged meanwhile is in the archive when finish has looked: the
// next outage need not wait for it.
func (o *outages) recovers(one outage) {
	o.t.Helper()
	eventually(o.t, recoverWithin, func(context.Context) error {
		if open := o.api.scrape().sum("tgfleet_accept_breaker_open", ""); open != 0 {
			return errors.New("the queue is still left out")
		}
		return nil
	})
	before := o.api.scrape()
	after := o.stream.answered(answersAfter)
	if one.takes != nothingTakes {
		require.Equal(o.t, map[int]int{http.StatusOK: len(after)}, statuses(after))
	}
	require.Greater(o.t, o.api.scrape().sum("tgfleet_accept_updates_total", `result="queue"`),
		before.sum("tgfleet_accept_updates_total", `result="queue"`), "the queue is used again")
	for _, s := range o.servers {
		require.False(o.t, s.hasEnded(), "%s has ended", s.name)
		eventually(o.t, startWithin, func(ctx context.Context) error {
			got, err := get(ctx, s.url+"/ready")
			if err == nil && got.status != http.StatusOK {
				err = fmt.Errorf("%s is not ready: %s", s.name, got.body)
			}
			return err
		})
	}
}

// watchHealth asks every process for its health until done is called, and fails then if one of them was ever not well.
func (f *fleet) watchHealth() (done func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	var mu sync.Mutex
	var wrong []string
	asked := 0
	for _, s := range f.servers {
		watching.Go(func() {
			tick := time.NewTicker(5 * lookEvery)
			defer tick.Stop()
			for {
				got, err := get(ctx, s.url+"/health")
				mu.Lock()
				asked++
				if ctx.Err() == nil && (err != nil || got.status != http.StatusOK) {
					wrong = append(wrong, fmt.Sprintf("%s: %v %d %s", s.name, err, got.status, got.body))
				}
				mu.Unlock()
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	stop := func() {
		cancel()
		watching.Wait()
	}
	f.t.Cleanup(stop)
	return func() {
		f.t.Helper()
		stop()
		require.Empty(f.t, wrong)
		require.Positive(f.t, asked)
	}
}

// finish ends the stream and looks whether the archive holds exactly what it must. others are updates that came by other ways.
func (o *outages) finish(others int) {
	o.t.Helper()
	o.stream.end()
	o.settled(recoverWithin)
	o.stream.requireKept(o.fleet, others)
	o.t.Logf("all answers: %v, slowest %s", statuses(o.stream.all()), slowest(o.stream.all(), 1).Round(time.Millisecond))
}
