package e2e_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shortDrain is the DRAIN_TIMEOUT of processes that are told to stop while what they need is away. A worker needs 2.5 s of it with a Redis
// that is silent; the rest is for a commit on a machine with much else to do, which has been seen to take 3 s.
const shortDrain = 8 * time.Second

// TestSIGTERMEndsAProcessInTimeWhateverIsAway tells an api and a worker to stop in every state of the servers, at rest and under
// load. Each ends in time, well unless a frozen database holds a transaction of it, and nothing is lost or doubled.
func TestSIGTERMEndsAProcessInTimeWhateverIsAway(t *testing.T) {
	t.Parallel()
	o := newOutages(t)
	for _, s := range o.servers {
		s.terminate()
	}
	o.env["DRAIN_TIMEOUT"] = shortDrain.String()
	for _, busy := range []bool{false, true} {
		for _, state := range o.states() {
			name := map[bool]string{false: "at rest", true: "busy"}[busy] + ", " + state.name
			if !t.Run(name, func(*testing.T) { o.stopsIn(state, busy) }) {
				t.FailNow()
			}
		}
	}
	o.startAPI()
	o.startWorker()
	o.finish(0)
}

// state is one of the servers, together.
type state struct {
	name       string
	begin, end func() error
	// holdsCommits says that a transaction that is under way does not end, neither well nor badly.
	holdsCommits bool
}

func (o *outages) states() []state {
	ctx := context.Background()
	killRedis, restartRedis := o.redis.Kill, func() error { return o.redis.Restart(ctx) }
	killDatabase, restartDatabase := o.database.Kill, func() error { return o.database.Restart(ctx) }
	both := func(first, second func() error) func() error {
		return func() error { return errors.Join(first(), second()) }
	}
	return []state{
		{name: "Redis killed", begin: killRedis, end: restartRedis},
		{name: "Redis frozen", begin: o.redis.Pause, end: o.redis.Resume},
		{name: "PostgreSQL killed", begin: killDatabase, end: restartDatabase},
		{name: "PostgreSQL frozen", begin: o.database.Pause, end: o.database.Resume, holdsCommits: true},
		{name: "both killed", begin: both(killRedis, killDatabase), end: both(restartRedis, restartDatabase)},
		{name: "both frozen", begin: both(o.redis.Pause, o.database.Pause), end: both(o.redis.Resume, o.database.Resume), holdsCommits: true},
	}
}

func (o *outages) stopsIn(in state, busy bool) {
	o.t.Helper()
	o.startAPI()
	worker := o.startWorker()
	o.stream.goOn()
	o.stream.answered(20)
	if !busy {
		o.stream.pause()
	}
	require.NoError(o.t, in.begin())
	if busy {
		o.stream.answered(100)
	}
	start := time.Now()
	worker.signal(syscall.SIGTERM)
	o.api.signal(syscall.SIGTERM)
	api := o.api.exit(shortDrain + drainSlack)
	code := worker.exit(shortDrain + drainSlack)
	o.t.Logf("%s: ended after %s, api with %d, worker with %d", in.name, time.Since(start).Round(time.Millisecond), api, code)
	o.stream.pause()
	require.NoError(o.t, in.end())
	require.Zero(o.t, api, "the api has nothing that it must leave behind")
	if in.holdsCommits && code != 0 {
		require.Contains(o.t, worker.stderr(), `"result":"overran"`, "the log says what was left behind")
		return
	}
	require.Zero(o.t, code)
}
