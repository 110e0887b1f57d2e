package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

// drainTimeout is the fleet's DRAIN_TIMEOUT, and drainSlack what a busy machine may add to it.
const (
	drainTimeout = 10 * time.Second
	drainSlack   = 10 * time.Second
)

// bot is a bot as `tgfleet bot add` told it.
type bot struct {
	ID          string `json:"id"`
	BotID       int64  `json:"bot_id"`
	Username    string `json:"username"`
	WebhookPath string `json:"webhook_path"`
	Secret      string `json:"secret"`
	token       string
}

func (b bot) source() string { return "botapi:" + strconv.FormatInt(b.BotID, 10) }

// fleet is a fleet of separate processes with servers of its own.
type fleet struct {
	t     testing.TB
	env   environment
	redis *localservers.Redis
	db    *archive
	queue *queue.Client
	api   *server
	// workers are those that run now; servers all processes that ever ran.
	workers []*server
	servers []*server
	bots    []bot
}

// newFleet starts the servers and prepares the database, with the tool. No process of ours runs yet.
func newFleet(t testing.TB) *fleet {
	t.Helper()
	return newFleetOn(t, postgres.Database(t), localtest.Redis(t, localservers.RedisOptions{AppendOnly: true}))
}

// newFleetOn is newFleet on servers of the test's own, which are empty.
func newFleetOn(t testing.TB, databaseURL string, redis *localservers.Redis) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: redis, env: environment{
		"DATABASE_URL": databaseURL, "REDIS_URL": redis.URL(), "SECRET_KEYS": generateKeys(t),
		"DRAIN_TIMEOUT": drainTimeout.String(),
	}}
	f.tool("migrate")
	f.db = openPostgres(t, f.env["DATABASE_URL"])
	var err error
	f.queue, err = queue.Open(seal.Secret(redis.URL()), queue.Options{Shards: map[queue.Class]int{tasks.IngestClass: 2}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.queue.Close()) })
	return f
}

// generateKeys returns a new SECRET_KEYS.
func generateKeys(t testing.TB) string {
	t.Helper()
	got := run(t, command{program: "tgfleet", args: []string{"keys", "generate", "--id", "e2e"}})
	require.Zero(t, got.code, got.stderr)
	return strings.TrimSpace(got.stdout)
}

// tool runs a command of tgfleet that must succeed, and returns what it printed.
func (f *fleet) tool(args ...string) string {
	f.t.Helper()
	return tool(f.t, f.env, args...)
}

func tool(t testing.TB, env environment, args ...string) string {
	t.Helper()
	got := run(t, command{program: "tgfleet", args: args, env: env})
	require.Zero(t, got.code, "tgfleet %s: %s", strings.Join(args, " "), got.stderr)
	return got.stdout
}

// addBots makes the bots with these tokens known, without a word to Telegram.
func (f *fleet) addBots(tokens ...string) {
	f.t.Helper()
	f.bots = append(f.bots, addBots(f.t, f.env, tokens...)...)
}

func addBots(t testing.TB, env environment, tokens ...string) []bot {
	t.Helper()
	var bots []bot
	for _, token := range tokens {
		b := bot{token: token}
		printed := tool(t, env, "bot", "add", "--token", token, "--no-telegram", "--json")
		require.NoError(t, json.Unmarshal([]byte(printed), &b))
		require.True(t, strings.HasPrefix(token, strconv.FormatInt(b.BotID, 10)+":"), "bot_id %d", b.BotID)
		require.Equal(t, "/telegram/webhook/"+b.ID, b.WebhookPath)
		require.NotEmpty(t, b.Secret)
		bots = append(bots, b)
	}
	return bots
}

// startAPI starts the api where the one before it served, or at a free port.
func (f *fleet) startAPI() {
	f.t.Helper()
	at := ""
	if f.api != nil {
		at = strings.TrimPrefix(f.api.url, "http://")
	}
	f.api = serve(f.t, command{program: "api", env: f.env}, "HTTP_ADDR", at)
	f.servers = append(f.servers, f.api)
}

// startWorker starts one more worker.
func (f *fleet) startWorker() *server {
	f.t.Helper()
	worker := serve(f.t, command{program: "worker-content", env: f.env}, "METRICS_ADDR", "")
	f.workers = append(f.workers, worker)
	f.servers = append(f.servers, worker)
	return worker
}

// children returns all processes that ever ran.
func (f *fleet) children() []*child {
	var all []*child
	for _, s := range f.servers {
		all = append(all, s.child)
	}
	return all
}

// depth returns how much is in the queues.
func (f *fleet) depth(ctx context.Context) (queue.Depth, error) {
	return f.queue.Depth(ctx, tasks.IngestClass)
}

// settled waits until nothing is on its way any more: the queues and the spool are empty.
func (f *fleet) settled(within time.Duration) {
	f.t.Helper()
	eventually(f.t, within, func(ctx context.Context) error {
		depth, err := f.depth(ctx)
		if err != nil {
			return err
		}
		depth.Oldest = 0
		if depth != (queue.Depth{}) {
			return fmt.Errorf("queues: %+v", depth)
		}
		return f.db.spoolEmpty(ctx)
	})
}

// send posts body as the bot's update, as Telegram does, and returns the status of the answer.
func (f *fleet) send(b bot, body string) int {
	f.t.Helper()
	request := f.request(http.MethodPost, f.api.url+b.WebhookPath, body)
	request.Header.Set(secretHeader, b.Secret)
	got, err := do(request)
	require.NoError(f.t, err)
	return got.status
}

const secretHeader = "X-Telegram-Bot-Api-Secret-Token"

func (f *fleet) request(method, url, body string) *http.Request {
	f.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	require.NoError(f.t, err)
	request.Header.Set("Content-Type", "application/json")
	return request
}
