package obs_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/obs"
)

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthNamesASilentLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := obs.NewHealth()
		mux := obs.Mux(obs.NewRegistry(), health)
		relay, sweeper := health.Loop("relay", 10*time.Second), health.Loop("sweeper", time.Hour)
		relay.Tick()

		<-time.After(10 * time.Second)
		code, body := get(t, mux, "/health")
		require.Equal(t, http.StatusOK, code, body)
		require.JSONEq(t, `{"status":"ok"}`, body)

		<-time.After(time.Second)
		code, body = get(t, mux, "/health")
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.JSONEq(t, `{"status":"unhealthy","loops":{"relay":"silent for 11s, at most 10s is right"}}`, body)

		relay.Tick()
		code, _ = get(t, mux, "/health")
		require.Equal(t, http.StatusOK, code, "a loop that moves again is healthy again")

		<-time.After(2 * time.Hour)
		relay.Tick()
		_, body = get(t, mux, "/health")
		require.Contains(t, body, "sweeper", "a loop that never ticked counts from its start")
		sweeper.Tick()
	})
}

func TestHealthDoesNotAskTheChecks(t *testing.T) {
	t.Parallel()
	health := obs.NewHealth()
	var asked atomic.Bool
	health.Ready("redis", func(context.Context) error { asked.Store(true); return errors.New("connection refused") })
	code, body := get(t, obs.Mux(obs.NewRegistry(), health), "/health")
	require.Equal(t, http.StatusOK, code, body)
	require.False(t, asked.Load())
}

func TestReadyNamesWhatFails(t *testing.T) {
	t.Parallel()
	health := obs.NewHealth()
	mux := obs.Mux(obs.NewRegistry(), health)
	code, body := get(t, mux, "/ready")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"ok"}`, body)

	health.Ready("queue", func(context.Context) error { return nil })
	health.Ready("bots", func(context.Context) error { return errors.New("never loaded") })
	code, body = get(t, mux, "/ready")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.JSONEq(t, `{"status":"unready","checks":{"bots":"never loaded"}}`, body)
}

func TestReadyAnswersInTimeWhileADependencyHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := obs.NewHealth()
		mux := obs.Mux(obs.NewRegistry(), health)
		thaw := make(chan struct{})
		var runs atomic.Int32
		health.Ready("frozen", func(context.Context) error { runs.Add(1); <-thaw; return nil })
		health.Ready("slow", func(ctx context.Context) error { <-ctx.Done(); return errors.New("slow: " + ctx.Err().Error()) })
		health.Ready("well", func(context.Context) error { <-time.After(900 * time.Millisecond); return nil })

		begun := time.Now()
		var asking sync.WaitGroup
		for range 5 {
			asking.Go(func() {
				code, body := get(t, mux, "/ready")
				require.Equal(t, http.StatusServiceUnavailable, code)
				require.Contains(t, body, `"frozen":"not done within 1s"`)
				require.Contains(t, body, "slow")
				require.NotContains(t, body, "well")
			})
		}
		asking.Wait()
		require.Equal(t, time.Second, time.Since(begun), "checks run at once and nobody waits for a frozen one")

		_, _ = get(t, mux, "/ready")
		require.EqualValues(t, 1, runs.Load(), "asking again piles nothing up")
		close(thaw)
		synctest.Wait()
		_, body := get(t, mux, "/ready")
		require.NotContains(t, body, "frozen")
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestWhoGoesAwaySpoilsNobodysAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := obs.NewHealth()
		mux := obs.Mux(obs.NewRegistry(), health)
		health.Ready("queue", func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(500 * time.Millisecond):
				return nil
			}
		})
		gone, cancel := context.WithCancel(t.Context())
		go mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, "/ready", nil))
		synctest.Wait()
		cancel()
		code, body := get(t, mux, "/ready")
		require.Equal(t, http.StatusOK, code, body)
	})
}

func TestMetricsAreServedAndOtherMethodsRefused(t *testing.T) {
	t.Parallel()
	mux := obs.Mux(obs.NewRegistry(), obs.NewHealth())
	code, body := get(t, mux, "/metrics")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "tgfleet_build_info{")

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ready", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
}
