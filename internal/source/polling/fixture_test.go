package polling_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/source/polling"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secretKeys seal.Secret = "k1:4N/1QxHeggw0mfmhLuhVMYFXPmScpXa5lbgrDDO071g="

func newRing(t *testing.T) *seal.Ring {
	t.Helper()
	ring, err := seal.ParseRing(secretKeys)
	require.NoError(t, err)
	return ring
}

func tokenOf(id int64, secretHalf string) string { return strconv.FormatInt(id, 10) + ":" + secretHalf }

func newBot(t *testing.T, id int64, secretHalf string) account.Bot {
	t.Helper()
	sealed, err := newRing(t).Seal(seal.PurposeBotToken, []byte(tokenOf(id, secretHalf)))
	require.NoError(t, err)
	return account.Bot{
		ID: "bot-" + strconv.FormatInt(id, 10), BotID: account.BotID(id), Delivery: account.Polling, SealedToken: sealed,
	}
}

// fixture is everything around pollers: the fleet's bots and leases, a sink, a log, and a way to Telegram.
type fixture struct {
	bots   *bots
	leases *leases
	sink   ingest.Sink
	log    *testkit.Buffer
	url    string
	// through replaces the network when it is set.
	through http.RoundTripper
	// health and reg are those of the last poller.
	health *obs.Health
	reg    *prometheus.Registry
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return &fixture{
		bots: &bots{}, leases: &leases{held: map[string]account.Lease{}}, log: &testkit.Buffer{}, url: "http://bot-api.example",
	}
}

func (f *fixture) poller(t *testing.T) *polling.Poller {
	t.Helper()
	return f.pollerWith(t, f.leases, newRing(t))
}

func (f *fixture) pollerWith(t *testing.T, leases lease.Leases, ring *seal.Ring) *polling.Poller {
	t.Helper()
	f.health, f.reg = obs.NewHealth(), prometheus.NewRegistry()
	p, err := polling.New(polling.Config{
		Bots: f.bots, Leases: leases, Tokens: ring, Sink: f.sink, BotAPIURL: f.url,
		Log: obs.NewLogger(f.log, slog.LevelDebug, "text"), Registerer: f.reg,
		Beat: f.health.Loop("polling", 30*time.Second),
	})
	require.NoError(t, err)
	if f.through != nil {
		p.Through(f.through)
		p.TakeAnswersUpTo(1 << 20)
	}
	return p
}

// start runs p; stop ends it and waits.
func start(t *testing.T, p *polling.Poller) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended)
	}
}

// elapse lets d pass on the bubble's clock and everything settle.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (f *fixture) requests(t *testing.T, result string) float64 {
	t.Helper()
	return metric(t, f.reg, "tgfleet_polling_requests_total", result)
}

func (f *fixture) inState(t *testing.T, state string) float64 {
	t.Helper()
	return metric(t, f.reg, "tgfleet_polling_bots", state)
}

func metric(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no such metric", "%s %s", name, label)
	return 0
}

func requireWellNamed(t *testing.T, reg *prometheus.Registry) {
	t.Helper()
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// bots is the list of bots that the fleet has.
type bots struct {
	mu   sync.Mutex
	list []account.Bot
	err  error
}

func (b *bots) List(context.Context) ([]account.Bot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list, b.err
}

func (b *bots) set(list ...account.Bot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = list
}

func (b *bots) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// leases is a database's table of leases.
type leases struct {
	mu   sync.Mutex
	held map[string]account.Lease
}

var errLost = fault.As(fault.NotFound, errors.New("the lease is lost"))

func (l *leases) Acquire(_ context.Context, name, owner string, ttl time.Duration) (account.Lease, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, known := l.held[name]
	if known && lease.Owner != owner && time.Now().Before(lease.ExpiresAt) {
		return account.Lease{}, false, nil
	}
	if lease.Owner != owner {
		lease.Epoch++
	}
	lease.Name, lease.Owner, lease.ExpiresAt = name, owner, time.Now().Add(ttl)
	l.held[name] = lease
	return lease, true, nil
}

func (l *leases) Renew(_ context.Context, lease account.Lease, ttl time.Duration) (account.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.held[lease.Name]
	if now.Owner != lease.Owner || now.Epoch != lease.Epoch || !time.Now().Before(now.ExpiresAt) {
		return account.Lease{}, errLost
	}
	now.ExpiresAt = time.Now().Add(ttl)
	l.held[lease.Name] = now
	return now, nil
}

func (l *leases) Release(_ context.Context, lease account.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.held[lease.Name]; now.Owner == lease.Owner && now.Epoch == lease.Epoch {
		now.Owner, now.ExpiresAt = "", time.Now()
		l.held[lease.Name] = now
	}
	return nil
}

func (l *leases) take(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[name] = account.Lease{Name: name, Owner: "somebody", Epoch: l.held[name].Epoch + 1, ExpiresAt: time.Now().Add(time.Hour)}
}

func (l *leases) holder(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[name].Owner
}

// cutLeases is the way of one worker to the leases, which can be cut.
type cutLeases struct {
	*leases
	mu  sync.Mutex
	cut error
	// hangs makes calls wait for the end of their context instead.
	hangs bool
}

func (c *cutLeases) set(cut error, hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut, c.hangs = cut, hangs
}

func (c *cutLeases) trouble(ctx context.Context) error {
	c.mu.Lock()
	cut, hangs := c.cut, c.hangs
	c.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return cut
}

func (c *cutLeases) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (account.Lease, bool, error) {
	if err := c.trouble(ctx); err != nil {
		return account.Lease{}, false, err
	}
	return c.leases.Acquire(ctx, name, owner, ttl)
}

func (c *cutLeases) Renew(ctx context.Context, lease account.Lease, ttl time.Duration) (account.Lease, error) {
	if err := c.trouble(ctx); err != nil {
		return account.Lease{}, err
	}
	return c.leases.Renew(ctx, lease, ttl)
}

func (c *cutLeases) Release(ctx context.Context, lease account.Lease) error {
	if err := c.trouble(ctx); err != nil {
		return err
	}
	return c.leases.Release(ctx, lease)
}

// sink takes updates, or does not, as the test says.
type sink struct {
	mu sync.Mutex
	// took counts how often an update was taken, by its bytes.
	took map[string]int
	// answer, when it is set, decides about each offer before it is taken.
	answer func(ctx context.Context, env ingest.Envelope) error
}

func newSink() *sink { return &sink{took: map[string]int{}} }

func (s *sink) Accept(ctx context.Context, env ingest.Envelope) error {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, env); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took[string(env.Raw)]++
	return nil
}

func (s *sink) answers(answer func(context.Context, ingest.Envelope) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *sink) has(raw []byte) bool { return s.times(raw) > 0 }

func (s *sink) times(raw []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took[string(raw)]
}

func (s *sink) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.took)
}

var errFull = fault.As(fault.Transient, errors.New("nothing durable takes it"))

// direct is a network without sockets, so that a bubble's clock moves while requests are under way.
type direct struct {
	handler http.Handler

	mu sync.Mutex
	// questions are the bodies of the requests so far; inFlight and most count them as they run.
	questions      []question
	inFlight, most int
}

type question struct {
	Offset         *int64
	Limit, Timeout int
	AllowedUpdates []string `json:"allowed_updates"`
}

func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if err := d.enter(body); err != nil {
		return nil, err
	}
	defer d.leave()
	served := req.Clone(req.Context())
	served.Body = io.NopCloser(bytes.NewReader(body))
	answered := make(chan struct{})
	rec := httptest.NewRecorder()
	go func() {
		defer close(answered)
		d.handler.ServeHTTP(rec, served)
	}()
	select {
	case <-answered:
		return rec.Result(), nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func (d *direct) enter(body []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	d.questions = append(d.questions, q)
	d.inFlight++
	d.most = max(d.most, d.inFlight)
	return nil
}

func (d *direct) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
}

func (d *direct) asked() []question {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]question(nil), d.questions...)
}

func (d *direct) running() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inFlight
}

func (d *direct) mostAtOnce() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.most
}
