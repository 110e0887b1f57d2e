package e2e_test

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/testkit"
)

// trouble says how a kind of fault is brought about.
type trouble struct {
	kind testkit.Kind
	// begin brings it about and returns what ends it.
	begin func(c *chaosFleet, f testkit.Fault) (end func())
	// served says that every receiver runs and reaches a store that takes updates all the time, so that none may be refused.
	served bool
}

// troubles are all kinds of faults.
var troubles = slices.Concat(troublesOfProcesses, troublesOfServers, troublesOfNetworks)

// kindsOfTrouble returns the kind only, or all kinds when it is empty.
func kindsOfTrouble(only testkit.Kind) []testkit.Kind {
	if only != "" {
		return []testkit.Kind{only}
	}
	kinds := make([]testkit.Kind, len(troubles))
	for i := range troubles {
		kinds[i] = troubles[i].kind
	}
	return kinds
}

func troubleOf(kind testkit.Kind) trouble {
	return troubles[slices.IndexFunc(troubles, func(t trouble) bool { return t.kind == kind })]
}

func anAPI(c *chaosFleet, f testkit.Fault) *node   { return c.apis[f.Target%len(c.apis)] }
func aWorker(c *chaosFleet, f testkit.Fault) *node { return c.consumers[f.Target%len(c.consumers)] }

type pick func(c *chaosFleet, f testkit.Fault) *node

func killed(of pick) func(*chaosFleet, testkit.Fault) func() {
	return func(c *chaosFleet, f testkit.Fault) func() {
		of(c, f).kill()
		return of(c, f).again
	}
}

func stopped(of pick) func(*chaosFleet, testkit.Fault) func() {
	return func(c *chaosFleet, f testkit.Fault) func() {
		of(c, f).stop()
		return of(c, f).again
	}
}

func frozen(of pick) func(*chaosFleet, testkit.Fault) func() {
	return func(c *chaosFleet, f testkit.Fault) func() {
		of(c, f).server.signal(syscall.SIGSTOP)
		return func() { of(c, f).server.signal(syscall.SIGCONT) }
	}
}

// skews are how wrong the clock of a receiver is: enough to change the day.
var skews = []time.Duration{-26 * time.Hour, -40 * time.Second, 90 * time.Second, 26 * time.Hour}

var troublesOfProcesses = []trouble{
	{kind: "api killed", begin: killed(anAPI)},
	{kind: "api frozen", begin: frozen(anAPI)},
	{kind: "api restarted", begin: stopped(anAPI)},
	{kind: "api with a wrong clock", begin: func(c *chaosFleet, f testkit.Fault) func() {
		n := anAPI(c, f)
		n.stop()
		n.run("skewedapi", n.env.with(environment{"CLOCK_SKEW": skews[f.Number%len(skews)].String()}))
		return func() {
			n.stop()
			n.again()
		}
	}},
	{kind: "worker killed", begin: killed(aWorker), served: true},
	{kind: "worker killed with work in hand", served: true, begin: func(c *chaosFleet, f testkit.Fault) func() {
		release := c.db.hold("messages")
		pauseFor(time.Second) // all workers take what they can hold
		aWorker(c, f).kill()
		release()
		return aWorker(c, f).again
	}},
	{kind: "worker frozen", begin: frozen(aWorker), served: true},
	{kind: "worker restarted", begin: stopped(aWorker), served: true},
}

var troublesOfServers = []trouble{
	{kind: "redis killed", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.redis.Kill())
		return func() { require.NoError(c.t, c.redis.Restart(context.Background())) }
	}},
	{kind: "redis frozen", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.redis.Pause())
		return func() { require.NoError(c.t, c.redis.Resume()) }
	}},
	{kind: "redis restarted", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.redis.Restart(context.Background()))
		return func() {}
	}},
	{kind: "redis out of memory", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		c.command("CONFIG", "SET", "maxmemory", "1mb")
		return func() { c.command("CONFIG", "SET", "maxmemory", "0") }
	}},
	{kind: "redis read-only", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		c.command("REPLICAOF", "127.0.0.1", "1")
		return func() { c.command("REPLICAOF", "NO", "ONE") }
	}},
	{kind: "postgres killed", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.database.Kill())
		return func() { require.NoError(c.t, c.database.Restart(context.Background())) }
	}},
	{kind: "postgres frozen", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.database.Pause())
		return func() { require.NoError(c.t, c.database.Resume()) }
	}},
	{kind: "postgres restarted", served: true, begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.database.Restart(context.Background()))
		return func() {}
	}},
	{kind: "redis killed, spool's disk full", begin: func(c *chaosFleet, _ testkit.Fault) func() {
		c.exec(diskFull)
		require.NoError(c.t, c.redis.Kill())
		return func() {
			require.NoError(c.t, c.redis.Restart(context.Background()))
			c.exec(`DROP TRIGGER disk_full ON spool; DROP FUNCTION disk_full`)
		}
	}},
	{kind: "redis and postgres killed", begin: func(c *chaosFleet, _ testkit.Fault) func() {
		require.NoError(c.t, c.redis.Kill())
		require.NoError(c.t, c.database.Kill())
		return func() {
			require.NoError(c.t, c.database.Restart(context.Background()))
			require.NoError(c.t, c.redis.Restart(context.Background()))
		}
	}},
}

// diskFull makes the database answer to a new row of the spool as it does when its disk is full.
const diskFull = `
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON spool FOR EACH ROW EXECUTE FUNCTION disk_full()`

var troublesOfNetworks = []trouble{
	{kind: "api cut from redis", served: true, begin: network(anAPI, toRedis, (*testkit.Proxy).Cut)},
	{kind: "api to redis hangs", served: true, begin: network(anAPI, toRedis, (*testkit.Proxy).Hang)},
	{kind: "api to redis slow", served: true, begin: slowNetwork(anAPI, toRedis)},
	{kind: "api cut from postgres", served: true, begin: network(anAPI, toPostgres, (*testkit.Proxy).Cut)},
	{kind: "api to postgres hangs", served: true, begin: network(anAPI, toPostgres, (*testkit.Proxy).Hang)},
	{kind: "api to postgres slow", served: true, begin: slowNetwork(anAPI, toPostgres)},
	{kind: "worker cut from redis", served: true, begin: network(aWorker, toRedis, (*testkit.Proxy).Cut)},
	{kind: "worker to redis hangs", served: true, begin: network(aWorker, toRedis, (*testkit.Proxy).Hang)},
	{kind: "worker to redis slow", served: true, begin: slowNetwork(aWorker, toRedis)},
	{kind: "worker cut from postgres", served: true, begin: network(aWorker, toPostgres, (*testkit.Proxy).Cut)},
	{kind: "worker to postgres hangs", served: true, begin: network(aWorker, toPostgres, (*testkit.Proxy).Hang)},
	{kind: "worker to postgres slow", served: true, begin: slowNetwork(aWorker, toPostgres)},
}

func toRedis(n *node) *testkit.Proxy    { return n.redis }
func toPostgres(n *node) *testkit.Proxy { return n.sql }

// slowNetwork delays from hardly noticeable to beyond the time that a flush has.
func slowNetwork(of pick, to func(*node) *testkit.Proxy) func(*chaosFleet, testkit.Fault) func() {
	return func(c *chaosFleet, f testkit.Fault) func() {
		delay := time.Duration(20+f.Target%380) * time.Millisecond
		return network(of, to, func(p *testkit.Proxy) { p.Delay(delay) })(c, f)
	}
}

func network(of pick, to func(*node) *testkit.Proxy, trouble func(*testkit.Proxy)) func(*chaosFleet, testkit.Fault) func() {
	return func(c *chaosFleet, f testkit.Fault) func() {
		stretch := to(of(c, f))
		trouble(stretch)
		return stretch.Heal
	}
}

// pauseFor lets d pass: a fault lasts for a time of its own, which nothing signals.
func pauseFor(d time.Duration) { <-time.After(d) }
