package process_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // breaks the database behind the store's back
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/api"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/app/listener"
	"github.com/tgfleet/tgfleet/internal/app/worker"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

var postgres = localtest.Postgres{Migrate: func(ctx context.Context, url string) error {
	db, err := store.Open(ctx, seal.Secret(url), store.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Around(m)) }

const (
	// within is how long a test waits for what must happen, on a machine with much else to do.
	within = 2 * time.Minute
	often  = 10 * time.Millisecond
)

// fleet is an api and a worker as their commands run them, with a Redis, a PostgreSQL and a Telegram.
type fleet struct {
	t           *testing.T
	redis       *localservers.Redis
	raw         *redis.Client
	queue       *queue.Client
	databaseURL string
	db          *store.DB
	sql         *sql.DB
	ring        *seal.Ring
	keys        seal.Secret
	telegram    *simulator.Server
	botAPI      string
	http        *http.Client

	// api, worker and listener are the URLs of the processes; empty before they were started.
	api, worker, listener string
	// seen is what scrapes have seen of each series. It belongs to the test's goroutine.
	seen map[string]extent
}

// extent is the least and the most that a series has been.
type extent struct{ least, most float64 }

// setup returns a fleet whose processes do not run yet.
func setup(t *testing.T, databaseURL string) *fleet {
	t.Helper()
	f := &fleet{
		t: t, databaseURL: databaseURL, seen: map[string]extent{},
		redis:    localtest.Redis(t, localservers.RedisOptions{AppendOnly: true}),
		telegram: simulator.New(simulator.Config{Seed: 1}),
		http:     &http.Client{Timeout: within, Transport: &http.Transport{ExpectContinueTimeout: within}},
	}
	t.Cleanup(f.http.CloseIdleConnections)
	f.raw = redis.NewClient(&redis.Options{Addr: f.redis.Addr()})
	t.Cleanup(func() { require.NoError(t, f.raw.Close()) })
	f.queue = queuetest.Open(t, seal.Secret(f.redis.URL()), queue.Options{})
	var err error
	f.db, err = store.Open(t.Context(), seal.Secret(databaseURL), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.db.Close()) })
	f.sql, err = sql.Open("pgx", databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.sql.Close()) })
	key, err := seal.Generate("k1")
	require.NoError(t, err)
	f.keys = key.Private()
	f.ring, err = seal.ParseRing(f.keys)
	require.NoError(t, err)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.botAPI = server.URL
	return f
}

// canned are answers that a Telegram gives on bad days, by the secret half of a bot's token.
var canned = map[string]struct {
	status int
	body   string
}{
	"SILENT":  {http.StatusOK, `{"ok":true,"result":[]}`},
	"BROKEN":  {http.StatusBadGateway, `<html>`},
	"HURRIED": {http.StatusTooManyRequests, `{"ok":false,"error_code":429,"parameters":{"retry_after":1}}`},
}

// ServeHTTP is the Bot API server: the simulator, but for bots with canned answers.
func (f *fleet) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	token, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/bot"), "/")
	_, secretHalf, _ := strings.Cut(token, ":")
	if answer, ok := canned[secretHalf]; ok {
		rw.WriteHeader(answer.status)
		_, _ = io.WriteString(rw, answer.body)
		return
	}
	f.telegram.ServeHTTP(rw, r)
}

// bot makes a bot known to the fleet.
func (f *fleet) bot(id int, secretHalf string, delivery account.Delivery) enrol.Enrolled {
	f.t.Helper()
	e, err := enrol.Bot(f.t.Context(), f.db.Bots(), f.ring, enrol.Newcomer{
		Token: seal.Secret(strconv.Itoa(id) + ":" + secretHalf), Username: "bot_" + strconv.Itoa(id) + "_bot", Delivery: delivery,
	})
	require.NoError(f.t, err)
	return e
}

func (f *fleet) startAPI() {
	f.t.Helper()
	f.api = f.start(func(ctx context.Context, addr string, log *slog.Logger) error {
		return api.Run(ctx, config.API{
			Queue:       config.Queue{RedisURL: seal.Secret(f.redis.URL()), IngestQueues: 1},
			Webhook:     config.Webhook{HTTPAddr: addr},
			DatabaseURL: seal.Secret(f.databaseURL), DrainTimeout: within,
		}, log)
	})
}

func (f *fleet) startWorker() {
	f.t.Helper()
	f.worker = f.start(func(ctx context.Context, addr string, log *slog.Logger) error {
		return worker.Run(ctx, config.Worker{
			Queue:       config.Queue{RedisURL: seal.Secret(f.redis.URL()), IngestQueues: 1},
			DatabaseURL: seal.Secret(f.databaseURL), MetricsAddr: addr, SecretKeys: f.keys, BotAPIURL: f.botAPI,
			WorkerConcurrency: 4, DrainTimeout: within, LedgerRetention: 30 * 24 * time.Hour,
		}, log)
	})
}

// startListener starts a listener without accounts.
func (f *fleet) startListener() {
	f.t.Helper()
	f.listener = f.start(func(ctx context.Context, addr string, log *slog.Logger) error {
		return listener.Run(ctx, config.Listener{
			Queue:       config.Queue{RedisURL: seal.Secret(f.redis.URL()), IngestQueues: 1},
			DatabaseURL: seal.Secret(f.databaseURL), MetricsAddr: addr, SecretKeys: f.keys, DrainTimeout: within,
			Telegram: config.Telegram{APIID: 1, APIHash: "0123456789abcdef0123456789abcdef"},
		}, log)
	})
}

// start runs a process on a free port until the test ends, and returns its URL.
func (f *fleet) start(run func(ctx context.Context, addr string, log *slog.Logger) error) (url string) {
	f.t.Helper()
	for range 20 {
		// Below the ports of outgoing connections, so that only another server can be faster.
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15_000+rand.IntN(17_000)))
		log := &testkit.Buffer{}
		ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, addr, slog.New(slog.NewJSONHandler(log, nil))) }()
		if err := f.serving("http://"+addr, ended); err != nil {
			cancel()
			require.ErrorIs(f.t, err, syscall.EADDRINUSE)
			continue
		}
		f.t.Cleanup(func() {
			cancel()
			require.NoError(f.t, <-ended)
			if f.t.Failed() {
				f.t.Log(log.String())
			}
		})
		return "http://" + addr
	}
	require.FailNow(f.t, "no free port")
	return ""
}

// serving returns nil once the process at url answers, and its error if it ends first.
func (f *fleet) serving(url string, ended <-chan error) error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	again := time.NewTicker(often)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-again.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", http.NoBody)
		require.NoError(f.t, err)
		resp, err := f.http.Do(req)
		require.NoError(f.t, ctx.Err(), "the process does not answer")
		if err == nil {
			return resp.Body.Close()
		}
	}
}

// reply is what a process answered.
type reply struct {
	status int
	body   string
	header http.Header
}

func (f *fleet) get(url string) reply {
	f.t.Helper()
	r, err := f.do(http.MethodGet, url, "", "")
	require.NoError(f.t, err)
	return r
}

// post posts an update as Telegram does.
func (f *fleet) post(bot enrol.Enrolled, body string) reply {
	f.t.Helper()
	r, err := f.do(http.MethodPost, f.api+bot.WebhookPath(), bot.Secret.Reveal(), body)
	require.NoError(f.t, err)
	return r
}

func (f *fleet) do(method, url, secret, body string) (reply, error) {
	req, err := http.NewRequestWithContext(f.t.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set(webhook.SecretHeader, secret)
	if len(body) > 1<<20 {
		req.Header.Set("Expect", "100-continue") // so that the refusal is read before the body is sent
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	text, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, body: string(text), header: resp.Header}, errors.Join(err, resp.Body.Close())
}

// message is the update id, with one message of that id.
func message(id int) string {
	return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%[1]d,"date":%d,`+
		`"chat":{"id":-1001000000001,"type":"supergroup","title":"Birds"},`+
		`"from":{"id":77,"is_bot":false,"first_name":"Ann"},"text":"number %[1]d"}}`, id, 1795000000+id)
}

func (f *fleet) exec(statement string) {
	f.t.Helper()
	_, err := f.sql.ExecContext(f.t.Context(), statement)
	require.NoError(f.t, err)
}

// query returns the number that is the first column of the first row.
func (f *fleet) query(statement string) (n float64) {
	f.t.Helper()
	require.NoError(f.t, f.sql.QueryRowContext(f.t.Context(), statement).Scan(&n))
	return n
}

// lock keeps everybody out of a table until the returned function is called.
func (f *fleet) lock(table string) (unlock func()) {
	f.t.Helper()
	tx, err := f.sql.BeginTx(f.t.Context(), nil)
	require.NoError(f.t, err)
	_, err = tx.ExecContext(f.t.Context(), "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
	require.NoError(f.t, err)
	return func() {
		f.t.Helper()
		require.NoError(f.t, tx.Rollback())
	}
}

// eventually waits until happened.
func (f *fleet) eventually(happened func() bool, what string) {
	f.t.Helper()
	require.True(f.t, testkit.Until(within, happened), "never: %s", what)
}
