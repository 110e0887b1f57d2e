package accept_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/accept"
	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// route is how the tests' batches travel, and how they are read back.
var route = queue.Route[batch.Batch]{
	Task: "test", Class: "ingest",
	Encode: func(b batch.Batch) ([]byte, error) { return batch.Encode(b), nil },
	Decode: batch.Decode,
}

type testQueue struct{ *queue.Client }

func (q testQueue) Put(ctx context.Context, b batch.Batch) error {
	return queue.Put(ctx, q.Client, route, b)
}

// line is a sink between a real Redis and a real database.
type line struct {
	*accept.Sink
	redis    *localservers.Redis
	client   *queue.Client
	db       *store.DB
	registry *prometheus.Registry
	stop     func() error
}

type constructor func(accept.Config) *accept.Sink

func setup(t *testing.T, newSink constructor, redisArgs ...string) *line {
	t.Helper()
	l := &line{
		redis:    localtest.Redis(t, localservers.RedisOptions{Args: redisArgs}),
		registry: prometheus.NewRegistry(),
	}
	l.client = queuetest.Open(t, seal.Secret(l.redis.URL()), queue.Options{})
	var err error
	l.db, err = store.Open(t.Context(), seal.Secret("sqlite:"+filepath.Join(t.TempDir(), "spool.db")), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.db.Close()) })
	require.NoError(t, l.db.Migrate(t.Context()))
	l.Sink = newSink(accept.Config{
		Queue: testQueue{l.client}, Spool: l.db.Spool(), Log: slog.New(slog.DiscardHandler),
		Registerer: l.registry, Beat: obs.NewHealth().Loop("accept", time.Minute),
	})
	l.stop = queuetest.Run(t, lifecycle.Service{Name: "accept", Run: l.Run})
	return l
}

func envelope(id int) ingest.Envelope {
	return ingest.Envelope{
		Source:     ingest.Source{Transport: ingest.BotAPI, Account: 42},
		ReceivedAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(id) * time.Second),
		Origin:     ingest.Live, Format: ingest.BotAPIJSON,
		Raw: []byte(`{"update_id":` + strconv.Itoa(id) + `}`),
	}
}

// accepts hands n envelopes over at once and returns what each was told.
func (l *line) accepts(t *testing.T, n int) []error {
	t.Helper()
	answers := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = l.Accept(t.Context(), envelope(i)) })
	}
	all.Wait()
	return answers
}

// queued serves the queue until it has brought n updates, and returns their bytes with the number of tasks they came in.
func (l *line) queued(t *testing.T, n int) (raws map[string]int, batches []batch.Batch) {
	t.Helper()
	var mu sync.Mutex
	raws = map[string]int{}
	seen := 0
	stop := queuetest.Run(t, l.client.Serve(queue.ServerConfig{
		Class: "ingest", Concurrency: 1, Drain: 5 * time.Second,
		Handlers: []queue.Handler{queue.Handle(route, func(_ context.Context, d *queue.Delivery[batch.Batch]) error {
			mu.Lock()
			defer mu.Unlock()
			batches = append(batches, d.Payload)
			for _, env := range d.Payload.Envelopes {
				raws[string(env.Raw)]++
				seen++
			}
			return d.DecodeErr
		})},
	}))
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen >= n
	}, queuetest.Within, time.Millisecond)
	require.NoError(t, stop())
	return raws, batches
}

// spooled returns the batches in the spool that are due.
func (l *line) spooled(t *testing.T) (batches []batch.Batch) {
	t.Helper()
	rows, err := l.db.Spool().Claim(t.Context(), 1000, time.Minute)
	require.NoError(t, err)
	for _, row := range rows {
		b, err := batch.Decode(row.Payload)
		require.NoError(t, err)
		require.Len(t, b.Envelopes, row.Updates)
		batches = append(batches, b)
	}
	return batches
}

func (l *line) breakerOpen() bool { return l.metric("tgfleet_accept_breaker_open", "") == 1 }

// metric returns the value of a gauge or counter; label is the value of its only label, or empty.
func (l *line) metric(name, label string) float64 {
	families, err := l.registry.Gather()
	if err != nil {
		panic(fmt.Sprintf("gather: %v", err))
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	panic("no metric " + name)
}

func TestAcceptedMeansQueuedAndTasksAreShared(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	for _, err := range l.accepts(t, 500) {
		require.NoError(t, err)
	}
	raws, batches := l.queued(t, 500)
	require.Len(t, raws, 500, "each update once")
	require.Less(t, len(batches), 250, "concurrent accepts share tasks")
	for _, b := range batches {
		require.LessOrEqual(t, len(b.Envelopes), 64)
		require.Zero(t, b.SpoolID)
	}
	require.Empty(t, l.spooled(t))
}

func TestTasksStaySmallAndLargeUpdatesGoAlone(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	var all sync.WaitGroup
	for i := range 40 {
		env := envelope(i)
		env.Raw = []byte(fmt.Sprintf(`{"update_id":%d,"text":%q}`, i, strings.Repeat("x", 20_000*(1+i%20))))
		all.Go(func() { require.NoError(t, l.Accept(t.Context(), env)) })
	}
	all.Wait()
	_, batches := l.queued(t, 40)
	for _, b := range batches {
		size := 0
		for i := range b.Envelopes {
			size += batch.SizeBytes(&b.Envelopes[i])
		}
		require.True(t, size <= 256<<10 || len(b.Envelopes) == 1, "%d updates of %d bytes", len(b.Envelopes), size)
	}
}

func TestSpoolTakesOverWhileRedisIsAwayAndGivesBack(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	require.NoError(t, l.redis.Kill())
	for _, err := range l.accepts(t, 100) {
		require.NoError(t, err)
	}
	require.True(t, l.breakerOpen())
	count := 0
	for _, b := range l.spooled(t) {
		count += len(b.Envelopes)
	}
	require.Equal(t, 100, count)

	require.NoError(t, l.redis.Restart(t.Context()))
	require.Eventually(t, func() bool { return !l.breakerOpen() }, queuetest.Within, time.Millisecond)
	require.NoError(t, l.Accept(t.Context(), envelope(1000)))
	raws, _ := l.queued(t, 1)
	require.Contains(t, raws, string(envelope(1000).Raw))
}

func TestFrozenRedisDelaysTheFirstAnswerOnly(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	require.NoError(t, l.Accept(t.Context(), envelope(1)))
	require.NoError(t, l.redis.Pause())
	start := time.Now()
	require.NoError(t, l.Accept(t.Context(), envelope(2)))
	require.Less(t, time.Since(start), 3*500*time.Millisecond, "a flush has half a second for the queue")
	require.True(t, l.breakerOpen(), "the next go to the spool straight away")
	require.Len(t, l.spooled(t), 1)
	require.NoError(t, l.redis.Resume())
	require.Eventually(t, func() bool { return !l.breakerOpen() }, queuetest.Within, time.Millisecond)
}

func TestRedisOutOfMemoryIsLeftOut(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New, "--maxmemory", "1kb", "--maxmemory-policy", "noeviction")
	for _, err := range l.accepts(t, 10) {
		require.NoError(t, err)
	}
	require.NotEmpty(t, l.spooled(t))
}

func TestRedisThatRunsFullIsLeftOutBeforeItRefuses(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
	filler := queue.Route[string]{
		Task: "filler", Class: "filler",
		Encode: func(s string) ([]byte, error) { return []byte(s), nil },
		Decode: func(b []byte) (string, error) { return string(b), nil },
	}
	for {
		used, err := l.client.MemoryUsed(t.Context())
		require.NoError(t, err)
		if used > 0.91 {
			break
		}
		require.NoError(t, queue.Put(t.Context(), l.client, filler, strings.Repeat("x", 50_000)))
	}
	require.NoError(t, l.client.Probe(t.Context()), "Redis still takes writes")
	require.Eventually(t, l.breakerOpen, queuetest.Within, time.Millisecond)
	require.NoError(t, l.Accept(t.Context(), envelope(1)))
	require.Len(t, l.spooled(t), 1)
	// The spool is away too: what is left of Redis's memory is better than nothing.
	require.NoError(t, l.db.Close())
	require.NoError(t, l.Accept(t.Context(), envelope(2)))
}

func TestNothingDurableIsATransientFault(t *testing.T) {
	t.Parallel()
	for name, newSink := range map[string]constructor{"queue first": accept.New, "spool first": accept.NewSpoolFirst} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setup(t, newSink)
			require.NoError(t, l.redis.Kill())
			require.NoError(t, l.db.Close())
			for _, err := range l.accepts(t, 100) {
				require.Equal(t, fault.Transient, fault.ClassOf(err))
			}
			require.InDelta(t, 100, l.metric("tgfleet_accept_updates_total", "refused"), 0)
		})
	}
}

func TestSpoolFirstWritesTheRowBeforeTheTask(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.NewSpoolFirst)
	for _, err := range l.accepts(t, 50) {
		require.NoError(t, err)
	}
	require.Empty(t, l.spooled(t), "rows wait for their tasks first")
	updates, _, err := l.db.Spool().Backlog(t.Context())
	require.NoError(t, err)
	require.Equal(t, 50, updates)
	raws, batches := l.queued(t, 50)
	require.Len(t, raws, 50)
	for _, b := range batches {
		require.NotZero(t, b.SpoolID, "the task names its row")
	}
}

func TestSpoolFirstNeedsNoQueue(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.NewSpoolFirst)
	require.NoError(t, l.redis.Kill())
	require.NoError(t, l.Accept(t.Context(), envelope(1)))
	updates, oldest, err := l.db.Spool().Backlog(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, updates)
	require.True(t, envelope(1).ReceivedAt.Equal(oldest))
}

func TestCancelledCallerLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	require.NoError(t, l.redis.Pause())
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- l.Accept(ctx, envelope(1)) }()
	second := make(chan error, 1)
	go func() { second <- l.Accept(t.Context(), envelope(2)) }()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	require.NoError(t, <-second)
	require.NoError(t, l.redis.Resume())
}

func TestStoppingFinishesWhatWasTaken(t *testing.T) {
	t.Parallel()
	l := setup(t, accept.New)
	answers := make(chan error, 1000)
	var callers sync.WaitGroup
	for i := range 1000 {
		callers.Go(func() { answers <- l.Accept(t.Context(), envelope(i)) })
	}
	require.NoError(t, <-answers)
	require.NoError(t, l.stop())
	callers.Wait()
	close(answers)
	accepted, refused := 1, 0
	for err := range answers {
		if err == nil {
			accepted++
			continue
		}
		refused++
		require.Equal(t, fault.Transient, fault.ClassOf(err), "what is not taken is refused, so that Telegram keeps it")
	}
	raws, _ := l.queued(t, accepted)
	require.Len(t, raws, accepted)
	require.Error(t, l.Accept(t.Context(), envelope(1)))
	require.InDelta(t, refused+1, l.metric("tgfleet_accept_updates_total", "refused"), 0)
}

func TestUpdatesBeyondThoseThatMayWaitAreRefusedAndCounted(t *testing.T) {
	t.Parallel()
	l := &line{registry: prometheus.NewRegistry()}
	l.Sink = accept.New(accept.Config{Log: slog.New(slog.DiscardHandler), Registerer: l.registry})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 4096 { // nothing flushes, and the callers go away at once
		require.ErrorIs(t, l.Accept(gone, envelope(i)), context.Canceled)
	}
	require.InDelta(t, 4096, l.metric("tgfleet_accept_waiting_updates", ""), 0)
	require.InDelta(t, 0, l.metric("tgfleet_accept_updates_total", "refused"), 0)
	require.Equal(t, fault.Transient, fault.ClassOf(l.Accept(t.Context(), envelope(4096))))
	require.InDelta(t, 1, l.metric("tgfleet_accept_updates_total", "refused"), 0)
	require.InDelta(t, 4096, l.metric("tgfleet_accept_waiting_updates", ""), 0)
}
