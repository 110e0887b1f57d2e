package webhook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/source/sourcetest"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	bot := account.Bot{ID: "x7qa", BotID: 42, SecretHash: sha256.Sum256([]byte(secret))}
	sourcetest.Run(t, sourcetest.Harness{
		Want:    ingest.Envelope{Source: bot.Source(), Origin: ingest.Live, Format: ingest.BotAPIJSON},
		Updates: sourcetest.BotAPIUpdates,
		Open: func(*testing.T) sourcetest.Wire {
			return &wire{bot: bot, arrived: make(chan struct{}, 1)}
		},
	})
}

// wire posts updates as Telegram does: each again until it is answered with 200.
type wire struct {
	bot     account.Bot
	arrived chan struct{}

	mu           sync.Mutex
	pending      [][]byte
	acknowledged [][]byte
}

func (w *wire) List(context.Context) ([]account.Bot, error) { return []account.Bot{w.bot}, nil }

func (w *wire) Start(t *testing.T, sink ingest.Sink) (stop func() error) {
	t.Helper()
	hook := webhook.New(webhook.Config{
		Bots: w, Sink: sink, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Beat: obs.NewHealth().Loop("bots", time.Minute),
	})
	server := httptest.NewServer(hook)
	ctx, cancel := context.WithCancel(t.Context())
	var failed error
	var parts sync.WaitGroup
	parts.Go(func() { failed = hook.Run(ctx) })
	require.Eventually(t, func() bool { return hook.Ready(ctx) == nil }, 5*time.Second, time.Millisecond)
	parts.Go(func() { w.post(ctx, server) })
	return func() error {
		cancel()
		parts.Wait()
		server.Close()
		return failed
	}
}

// post sends what is pending, one after the other, until ctx ends.
func (w *wire) post(ctx context.Context, server *httptest.Server) {
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		if w.postNext(ctx, server) == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.arrived:
		case <-retry.C:
		}
	}
}

var errNotTaken = errors.New("not taken")

func (w *wire) postNext(ctx context.Context, server *httptest.Server) error {
	w.mu.Lock()
	if len(w.pending) == 0 {
		w.mu.Unlock()
		return errNotTaken
	}
	raw := w.pending[0]
	w.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+webhook.Prefix+w.bot.ID, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set(webhook.SecretHeader, secret)
	response, err := server.Client().Do(r)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		return errors.Join(errNotTaken, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = w.pending[1:]
	w.acknowledged = append(w.acknowledged, raw)
	return nil
}

func (w *wire) Deliver(raw []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, raw)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

func (w *wire) Acknowledged() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]byte(nil), w.acknowledged...)
}
