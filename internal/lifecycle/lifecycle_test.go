package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const drain = 25 * time.Second

// diary writes down what the services of a test do, in the order in which they do it.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// service runs until it is told to stop and then takes a while.
func (d *diary) service(name string, takes time.Duration) lifecycle.Service {
	return lifecycle.Service{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		d.write(name + " told")
		<-time.After(takes)
		d.write(name + " gone")
		return ctx.Err()
	}}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestServicesStopInReverseOrderEachOneCompletely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var d diary
		begun := time.Now()
		err := lifecycle.Run(ctx, discard(), drain,
			lifecycle.Closer("store", func() error { d.write("store closed"); return nil }),
			d.service("queue", 5*time.Second), d.service("http", 3*time.Second))
		require.NoError(t, err)
		require.Equal(t, []string{"http told", "http gone", "queue told", "queue gone", "store closed"}, d.read())
		require.Equal(t, time.Hour+8*time.Second, time.Since(begun))
	})
}

func TestFirstFailureStopsAllAndEveryErrorIsReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		portTaken, notClosed := errors.New("port taken"), errors.New("not closed")
		err := lifecycle.Run(t.Context(), discard(), drain,
			lifecycle.Closer("store", func() error { return notClosed }),
			lifecycle.Service{Name: "http", Run: func(context.Context) error {
				<-time.After(time.Minute)
				return portTaken
			}},
			d.service("poller", time.Second))
		require.ErrorIs(t, err, portTaken)
		require.ErrorIs(t, err, notClosed)
		require.Equal(t, "service http: port taken\nservice store: not closed", err.Error())
		require.Equal(t, []string{"poller told", "poller gone"}, d.read())
	})
}

func TestServiceThatEndsByItselfStopsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		err := lifecycle.Run(t.Context(), discard(), drain,
			d.service("queue", 0),
			lifecycle.Service{Name: "relay", Run: func(context.Context) error { return nil }})
		require.EqualError(t, err, "service relay: ended without being asked to")
		require.Equal(t, []string{"queue told", "queue gone"}, d.read())
	})
}

func TestCanceledIsAFailureOfAServiceThatNobodyStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		err := lifecycle.Run(t.Context(), discard(), drain,
			lifecycle.Service{Name: "relay", Run: func(context.Context) error { return context.Canceled }})
		require.EqualError(t, err, "service relay: context canceled")
	})
}

func TestServiceThatOverrunsIsNamedAndHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var d diary
		release := make(chan struct{})
		defer close(release)
		time.AfterFunc(time.Hour, cancel)
		begun := time.Now()
		err := lifecycle.Run(ctx, discard(), drain,
			d.service("queue", time.Second),
			lifecycle.Service{Name: "stuck", Run: func(context.Context) error { <-release; return nil }},
			d.service("http", 10*time.Second))
		require.EqualError(t, err, "service stuck: still running when the drain time of 25s was over\n"+
			"service queue: told to stop, not waited for")
		require.Equal(t, time.Hour+drain, time.Since(begun), "the drain time bounds the whole stop")
		synctest.Wait()
		require.Equal(t, []string{"http told", "http gone", "queue told"}, d.read(), "those below are told all the same")
		<-time.After(time.Second)
	})
}

func TestWhatEachServiceDidIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var out bytes.Buffer
		release := make(chan struct{})
		defer close(release)
		err := lifecycle.Run(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), drain,
			lifecycle.Service{Name: "stuck", Run: func(context.Context) error { <-release; return nil }},
			d.service("queue", time.Second),
			lifecycle.Service{Name: "http", Run: func(context.Context) error { return errors.New("port taken") }})
		require.Error(t, err)
		logged := out.String()
		require.Contains(t, logged, "msg=stopping reason=http")
		for _, want := range []string{"service=http result=failed", "service=queue result=stopped", "service=stuck result=overran"} {
			require.Equal(t, 1, strings.Count(logged, want), "%s in\n%s", want, logged)
		}
		require.NotContains(t, logged, "port taken", "the error is returned and not logged as well")
	})
}

const childEnv = "LIFECYCLE_TEST_PANICS"

func TestPanicInAServiceEndsTheProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv(childEnv) != "" {
		_ = lifecycle.Run(t.Context(), discard(), drain,
			lifecycle.Service{Name: "bad", Run: func(context.Context) error { panic("a defect") }})
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicInAServiceEndsTheProcess$")
	child.Env = append(os.Environ(), childEnv+"=1")
	out, err := child.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: a defect")
}
