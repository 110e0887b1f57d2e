package e2e_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/simulator"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

const (
	chaosAPIs    = 2
	chaosWorkers = 3
	// chaosSpeed is how much faster Telegram's time runs, so that its pauses between tries take less of the run's, and chaosRate how
	// many updates a second of the run there are.
	chaosSpeed = 8
	chaosRate  = 120
)

// chaosFleet is a fleet of several receivers and workers, each with a network of its own to Redis and to PostgreSQL.
type chaosFleet struct {
	*fleet
	tg        *telegram
	database  *localservers.Postgres
	raw       *redis.Client
	apis      []*node
	consumers []*node
	// poisoned counts the updates that can only die.
	poisoned int
}

// node is a place where one process of ours runs, again and again.
type node struct {
	f       *fleet
	program string
	env     environment
	// addrVar is the variable that tells the process where to serve, and addr is where.
	addrVar, addr string
	redis, sql    *testkit.Proxy
	server        *server
}

// startChaosFleet starts everything, with Telegram talking to the receivers through a balancer.
func startChaosFleet(t testing.TB, seed uint64) *chaosFleet {
	t.Helper()
	tg := startTelegram(t, simulator.Config{Seed: seed, Clock: newFastClock(chaosSpeed)})
	tg.SetFaults(simulator.Faults{LostAnswers: 0.02, Duplicates: 0.05, Order: simulator.AcrossQueues})
	// What is answered for has to survive a crash of these servers. Redis promises that with "always" only: with "everysec" it answers
	// up to two seconds before it writes, whenever the disk is busy (redis 7.0, aof.c, flushAppendOnlyFile).
	database, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{Settings: []string{"synchronous_commit=on"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Stop()) })
	server := localtest.Redis(t, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	c := &chaosFleet{fleet: newFleetOn(t, database.URL("postgres"), server), tg: tg, database: database}
	c.raw = redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { require.NoError(t, c.raw.Close()) })
	c.exec(poisonTrigger)
	c.addBots(tg.addBots(len(people))...)
	var fronts []string
	for range chaosAPIs {
		c.apis = append(c.apis, c.newNode("api", "HTTP_ADDR"))
		fronts = append(fronts, c.apis[len(c.apis)-1].addr)
	}
	for range chaosWorkers {
		c.consumers = append(c.consumers, c.newNode("worker-content", "METRICS_ADDR"))
	}
	balancer := testkit.NewProxy(t, fronts...)
	for _, b := range c.bots {
		tg.post(b, "http://"+balancer.Addr(), nil)
	}
	return c
}

// newNode starts a process behind networks of its own.
func (c *chaosFleet) newNode(program, addrVar string) *node {
	c.t.Helper()
	database, err := url.Parse(c.env["DATABASE_URL"])
	require.NoError(c.t, err)
	n := &node{
		f: c.fleet, program: program, addrVar: addrVar,
		redis: testkit.NewProxy(c.t, c.redis.Addr()), sql: testkit.NewProxy(c.t, database.Host),
	}
	database.Host = n.sql.Addr()
	n.env = c.env.with(environment{"REDIS_URL": "redis://" + n.redis.Addr() + "/0", "DATABASE_URL": database.String()})
	n.again()
	return n
}

// again starts the node's program where it served before, and returns once it is ready.
func (n *node) again() { n.run(n.program, n.env) }

func (n *node) run(program string, env environment) {
	n.server = serve(n.f.t, command{program: program, env: env}, n.addrVar, n.addr)
	n.addr = strings.TrimPrefix(n.server.url, "http://")
	n.f.servers = append(n.f.servers, n.server)
}

// kill ends the node's process as a crash would.
func (n *node) kill() { n.server.kill() }

// stop ends the node's process in good order.
func (n *node) stop() {
	n.server.signal(syscall.SIGTERM)
	require.Zero(n.f.t, n.server.exit(drainTimeout+drainSlack), "%s at %s", n.program, n.addr)
}

// exec runs a statement in the database, past all networks.
func (c *chaosFleet) exec(statement string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	_, err := c.db.pool.ExecContext(ctx, statement)
	require.NoError(c.t, err, "%s", statement)
}

func (c *chaosFleet) command(args ...any) {
	c.t.Helper()
	require.NoError(c.t, c.raw.Do(context.Background(), args...).Err(), "%v", args)
}

// poisonChat is in no other update.
const poisonChat = `"chat":{"id":77,"type":"private","first_name":"Poison"}`

// poisonTrigger makes the database refuse a message for what it holds, as only an update that nobody foresaw would.
const poisonTrigger = `
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '22000'; END $$;
CREATE TRIGGER refuse_poison BEFORE INSERT OR UPDATE ON messages FOR EACH ROW WHEN (NEW.text LIKE 'poison %')
	EXECUTE FUNCTION refuse_poison()`

// poison sends an update that can't be normalised and one that the database refuses.
func (c *chaosFleet) poison() {
	c.t.Helper()
	bot := c.bots[c.poisoned%len(c.bots)]
	id := strconv.Itoa(1_000_000 + c.poisoned)
	for _, payload := range []string{
		`{"message_id":` + id + `,"date":"yesterday",` + poisonChat + `}`,
		`{"message_id":` + id + `,"date":1789345201,` + poisonChat + `,"text":"poison ` + id + `"}`,
	} {
		_, err := c.tg.Post(account.BotID(bot.BotID), "message", []byte(payload))
		require.NoError(c.t, err)
		c.poisoned++
	}
}

// refusals returns how often the receivers that run now have answered 503.
func (c *chaosFleet) refusals() (n int) {
	c.t.Helper()
	for _, api := range c.apis {
		n += api.server.scrape().sum("tgfleet_webhook_requests_total", `status="503"`)
	}
	return n
}

// caughtUp returns nil when nothing waits any more that came before the time.
func (c *chaosFleet) caughtUp(ctx context.Context, before time.Time) error {
	depth, err := c.depth(ctx)
	if err != nil {
		return err
	}
	if waited := depth.Oldest; waited > time.Since(before) || depth.Archived > 0 {
		return fmt.Errorf("updates have waited in the queue for %s: %+v", waited, depth)
	}
	waiting, err := c.db.number(ctx, fmt.Sprintf(
		"SELECT count(*) FROM spool WHERE oldest_at < to_timestamp(%d / 1e6)", before.UnixMicro()))
	if err == nil && waiting > 0 {
		err = fmt.Errorf("%d batches wait in the spool", waiting)
	}
	return err
}
