package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/groupcommit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a group whose writes wait for a gate, so that a test decides what arrives during a write.
type bench struct {
	*groupcommit.Group[string]
	gate chan error

	mu     sync.Mutex
	writes [][]string
}

// setup starts a group inside a synctest bubble; change may adapt its limits.
func setup(t *testing.T, change func(*groupcommit.Config[string])) (*bench, context.CancelFunc) {
	t.Helper()
	b := &bench{gate: make(chan error)}
	cfg := groupcommit.Config[string]{
		Write: func(_ context.Context, items []string) error {
			b.mu.Lock()
			b.writes = append(b.writes, items)
			b.mu.Unlock()
			return <-b.gate
		},
		MaxItems: 4, Flights: 1, Backlog: 100,
	}
	if change != nil {
		change(&cfg)
	}
	b.Group = groupcommit.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		close(b.gate)
		require.NoError(t, <-ended)
	})
	return b, cancel
}

// do calls Do from a goroutine of its own and returns where its answer comes.
func (b *bench) do(ctx context.Context, item string) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- b.Do(ctx, item) }()
	synctest.Wait()
	return answer
}

func TestFirstItemIsWrittenAtOnceAndTheRestShareTheNextWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, nil)
		first := b.do(t.Context(), "a")
		require.Equal(t, [][]string{{"a"}}, b.writes)

		second, third := b.do(t.Context(), "b"), b.do(t.Context(), "c")
		require.Len(t, b.writes, 1, "what arrives during a write waits for it")
		b.gate <- nil
		require.NoError(t, <-first)
		synctest.Wait()
		require.Equal(t, [][]string{{"a"}, {"b", "c"}}, b.writes)

		broken := errors.New("broken")
		b.gate <- broken
		require.ErrorIs(t, <-second, broken)
		require.ErrorIs(t, <-third, broken, "all who shared the write share its error")
	})
}

func TestWritesAreBoundedByItemsAndWeight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, func(cfg *groupcommit.Config[string]) {
			cfg.Weight, cfg.MaxWeight, cfg.BacklogWeight = func(s string) int { return len(s) }, 10, 1000
		})
		b.do(t.Context(), "first")
		for _, item := range []string{"1", "2", "3", "4", "5", "sixsix", "seven", "a very heavy one", "x"} {
			b.do(t.Context(), item)
		}
		for range 6 {
			b.gate <- nil
			synctest.Wait()
		}
		require.Equal(t, [][]string{
			{"first"}, {"1", "2", "3", "4"}, {"5", "sixsix"}, {"seven"}, {"a very heavy one"}, {"x"},
		}, b.writes)
	})
}

func TestCancelledCallerLeavesTheSharedWriteAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, nil)
		first := b.do(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		gone, stays := b.do(ctx, "b"), b.do(t.Context(), "c")
		cancel()
		require.ErrorIs(t, <-gone, context.Canceled)
		b.gate <- nil
		b.gate <- nil
		require.NoError(t, <-first)
		require.NoError(t, <-stays)
		require.Equal(t, [][]string{{"a"}, {"b", "c"}}, b.writes)
	})
}

func TestStoppingWritesWhatWaitsAndTakesNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, stop := setup(t, nil)
		first, second := b.do(t.Context(), "a"), b.do(t.Context(), "b")
		stop()
		synctest.Wait()
		b.gate <- nil
		require.NoError(t, <-first)
		synctest.Wait()
		b.gate <- nil
		require.NoError(t, <-second)
		synctest.Wait()
		err := b.Do(t.Context(), "late")
		require.ErrorIs(t, err, groupcommit.ErrStopped)
		require.Equal(t, fault.Transient, fault.ClassOf(err))
	})
}

func TestFullBacklogRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, func(cfg *groupcommit.Config[string]) { cfg.Backlog = 2 })
		for _, item := range []string{"written", "waits", "waits too"} {
			b.do(t.Context(), item)
		}
		require.Equal(t, 2, b.Waiting())
		err := b.Do(t.Context(), "one too many")
		require.ErrorIs(t, err, groupcommit.ErrFull)
		require.Equal(t, fault.Transient, fault.ClassOf(err))
		for range 2 {
			b.gate <- nil
			synctest.Wait()
		}
	})
}

func TestHeavyBacklogRefusesButNeverAnItemThatWouldWaitAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, func(cfg *groupcommit.Config[string]) {
			cfg.Weight, cfg.MaxWeight, cfg.BacklogWeight = func(s string) int { return len(s) }, 4, 10
		})
		b.do(t.Context(), "written")
		b.do(t.Context(), "a very heavy one")
		require.ErrorIs(t, b.Do(t.Context(), "x"), groupcommit.ErrFull)
		b.gate <- nil
		synctest.Wait()
		b.do(t.Context(), "sixsix")
		b.do(t.Context(), "four")
		require.ErrorIs(t, b.Do(t.Context(), "x"), groupcommit.ErrFull, "what was written weighs nothing any more")
		for range 3 {
			b.gate <- nil
			synctest.Wait()
		}
		require.Equal(t, [][]string{{"written"}, {"a very heavy one"}, {"sixsix"}, {"four"}}, b.writes)
	})
}

func TestPanicInAWriteBecomesAnErrorThatQuotesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := setup(t, func(cfg *groupcommit.Config[string]) {
			cfg.Write = func(_ context.Context, items []string) error { panic("cannot write " + items[0]) }
		})
		err := b.Do(t.Context(), "private words")
		var panicked *groupcommit.PanicError
		require.ErrorAs(t, err, &panicked)
		require.NotContains(t, err.Error(), "private words")
		require.NotEmpty(t, panicked.Stack)
		require.ErrorAs(t, b.Do(t.Context(), "again"), &panicked, "the group lives on")
	})
}

func TestManyFlightsWriteEveryItemOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	written := map[int]int{}
	g := groupcommit.New(groupcommit.Config[int]{
		Write: func(_ context.Context, items []int) error {
			mu.Lock()
			defer mu.Unlock()
			for _, item := range items {
				written[item]++
			}
			return nil
		},
		MaxItems: 8, Flights: 4, Backlog: 1000,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	var callers sync.WaitGroup
	for i := range 1000 {
		callers.Go(func() {
			if err := g.Do(t.Context(), i); err != nil {
				panic(fmt.Sprintf("item %d: %v", i, err))
			}
		})
	}
	callers.Wait()
	cancel()
	require.NoError(t, <-ended)
	require.Len(t, written, 1000)
	for item, times := range written {
		require.Equal(t, 1, times, "item %d", item)
	}
}
