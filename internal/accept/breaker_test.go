package accept_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept"
	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
)

// The longest times that a flush waits for a store that does not answer.
const (
	queueWait = 500 * time.Millisecond
	spoolWait = 2 * time.Second
)

// mood is how a store answers.
type mood int

const (
	well mood = iota
	// refusing answers at once with an error, and hanging not at all.
	refusing
	hanging
	// fickle takes probes and nothing else: it hangs.
	fickle
	// slow takes everything, and a second for it.
	slow
)

// moody is a queue and a spool whose answers a test decides.
type moody struct {
	mu     sync.Mutex
	mood   mood
	memory float64
	// puts counts what was tried, and taken what succeeded.
	puts, taken int
}

func (m *moody) becomes(now mood) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = now
}

func (m *moody) fills(memory float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memory = memory
}

func (m *moody) tried() (puts, taken int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts, m.taken
}

func (m *moody) now() mood {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mood
}

func (m *moody) answer(ctx context.Context, mood mood) error {
	switch mood {
	case refusing:
		return errors.New("refused")
	case hanging:
		<-ctx.Done()
		return ctx.Err()
	case slow:
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	case well, fickle:
	}
	return nil
}

func (m *moody) put(ctx context.Context) error {
	m.mu.Lock()
	m.puts++
	mood := m.mood
	m.mu.Unlock()
	if mood == fickle {
		mood = hanging
	}
	err := m.answer(ctx, mood)
	if err == nil {
		m.mu.Lock()
		m.taken++
		m.mu.Unlock()
	}
	return err
}

func (m *moody) Probe(ctx context.Context) error { return m.answer(ctx, m.now()) }

func (m *moody) MemoryUsed(ctx context.Context) (float64, error) {
	m.mu.Lock()
	memory := m.memory
	m.mu.Unlock()
	return memory, m.answer(ctx, m.now())
}

type moodyQueue struct{ *moody }

func (q moodyQueue) Put(ctx context.Context, _ batch.Batch) error { return q.put(ctx) }

type moodySpool struct{ *moody }

func (s moodySpool) Put(ctx context.Context, _ ingest.Spooled) (int64, error) { return 1, s.put(ctx) }

// moodyLine is a sink between stores with moods, inside a synctest bubble, where time is exact.
type moodyLine struct {
	*accept.Sink
	queue, spool *moody
}

func setupMoody(t *testing.T) *moodyLine {
	t.Helper()
	l := &moodyLine{queue: &moody{}, spool: &moody{}}
	l.Sink = accept.New(accept.Config{
		Queue: moodyQueue{l.queue}, Spool: moodySpool{l.spool}, Log: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Beat: obs.NewHealth().Loop("accept", time.Minute),
	})
	queuetest.Run(t, lifecycle.Service{Name: "accept", Run: l.Run})
	return l
}

// accepts hands n envelopes over at once, and returns how many were taken and how long the slowest answer took.
func (l *moodyLine) accepts(t *testing.T, n int) (taken int, slowest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			start := time.Now()
			err := l.Accept(t.Context(), envelope(i))
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, time.Since(start))
			if err == nil {
				taken++
			} else if fault.ClassOf(err) != fault.Transient {
				t.Errorf("refused with %v", err)
			}
		})
	}
	all.Wait()
	return taken, slowest
}

// passes lets time pass.
func passes(d time.Duration) { <-time.After(d) }

func TestOnlyTheFirstFlushWaitsForStoresThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.becomes(hanging)
		l.spool.becomes(hanging)
		taken, slowest := l.accepts(t, 1)
		require.Zero(t, taken)
		require.Equal(t, queueWait+spoolWait, slowest)
		for range 100 { // ten minutes
			taken, slowest = l.accepts(t, 100)
			require.Zero(t, taken)
			require.Zero(t, slowest, "nobody waits for a store that is known to be away")
			passes(6 * time.Second)
		}
		puts, _ := l.queue.tried()
		require.Equal(t, 1, puts)
		puts, _ = l.spool.tried()
		require.Equal(t, 1, puts)

		l.spool.becomes(well)
		passes(time.Second)
		taken, slowest = l.accepts(t, 100)
		require.Equal(t, 100, taken)
		require.Zero(t, slowest)
		l.queue.becomes(well)
		passes(time.Second)
		before, _ := l.queue.tried()
		l.accepts(t, 1)
		puts, _ = l.queue.tried()
		require.Equal(t, before+1, puts, "the queue is used again")
	})
}

func TestStoreThatRefusesIsLeftAloneToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.becomes(refusing)
		l.spool.becomes(refusing)
		for range 50 {
			taken, slowest := l.accepts(t, 10)
			require.Zero(t, taken)
			require.Zero(t, slowest)
			passes(100 * time.Millisecond)
		}
		puts, _ := l.queue.tried()
		require.Equal(t, 2, puts, "once before the spool and once after it")
		puts, _ = l.spool.tried()
		require.Equal(t, 1, puts)
	})
}

func TestSlowQueueIsWaitedForWhenNothingElseTakesUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.becomes(slow)
		l.spool.becomes(refusing)
		for range 20 {
			taken, slowest := l.accepts(t, 1)
			require.Equal(t, 1, taken)
			require.LessOrEqual(t, slowest, queueWait+spoolWait)
			passes(300 * time.Millisecond)
		}
		l.spool.becomes(well)
		passes(time.Second)
		l.accepts(t, 1)
		for range 20 {
			taken, slowest := l.accepts(t, 1)
			require.Equal(t, 1, taken)
			require.Zero(t, slowest, "the spool is faster")
			passes(300 * time.Millisecond)
		}
	})
}

func TestQueueThatStuttersIsLeftOutLongerEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.becomes(fickle)
		const minute = 60 * time.Second
		for start := time.Now(); time.Since(start) < minute; passes(50 * time.Millisecond) {
			taken, slowest := l.accepts(t, 1)
			require.Equal(t, 1, taken)
			require.LessOrEqual(t, slowest, queueWait)
		}
		puts, taken := l.queue.tried()
		require.Zero(t, taken)
		require.Greater(t, puts, 5, "it is tried again and again")
		require.LessOrEqual(t, puts, 20, "each try costs a slow flush")

		l.queue.becomes(well)
		passes(6 * time.Second)
		l.accepts(t, 1)
		_, taken = l.queue.tried()
		require.Equal(t, 1, taken, "no rest lasts longer than five seconds")
		passes(time.Minute)
		l.queue.becomes(refusing)
		l.accepts(t, 1)
		l.queue.becomes(well)
		passes(time.Second)
		l.accepts(t, 1)
		_, taken = l.queue.tried()
		require.Equal(t, 2, taken, "after a time of calm the first failure costs no rest")
	})
}

func TestQueueThatRestsIsUsedWhenNothingElseTakesUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.becomes(fickle)
		for tried := 0; tried < 8; tried, _ = l.queue.tried() {
			l.accepts(t, 1)
			passes(50 * time.Millisecond)
		}
		l.queue.becomes(well) // it has failed just now, and rests for five seconds
		passes(time.Second)
		l.accepts(t, 1)
		_, taken := l.queue.tried()
		require.Zero(t, taken)
		l.spool.becomes(refusing)
		l.accepts(t, 1) // finds the spool away
		passes(time.Second)
		taken, _ = l.accepts(t, 1)
		require.Equal(t, 1, taken)
	})
}

func TestQueueThatIsNearlyFullAfterAFailureIsALastResort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := setupMoody(t)
		l.queue.fills(1)
		l.queue.becomes(refusing)
		taken, _ := l.accepts(t, 1)
		require.Equal(t, 1, taken)
		l.queue.fills(0.88)
		l.queue.becomes(well)
		passes(5 * time.Second)
		l.accepts(t, 1)
		_, taken = l.queue.tried()
		require.Zero(t, taken, "it has to empty further first")
		l.spool.becomes(refusing)
		taken, _ = l.accepts(t, 1)
		require.Equal(t, 1, taken, "nothing else takes the update")
		_, taken = l.queue.tried()
		require.Equal(t, 1, taken)

		l.queue.fills(0.84)
		passes(time.Second)
		l.accepts(t, 1)
		_, taken = l.queue.tried()
		require.Equal(t, 2, taken)
	})
}
