// Package api wires the process that Telegram talks to: webhooks in, envelopes into the queue or the spool. It neither parses
// content nor calls Telegram, and it serves on while the database is away.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

// loopBound is how long the process's own loops may be silent: several turns of the slowest, each with its longest wait.
const loopBound = 30 * time.Second

// Run runs the api until ctx ends, and then finishes the requests that are under way.
func Run(ctx context.Context, cfg config.API, log *slog.Logger) error {
	return RunAt(ctx, cfg, time.Now, log)
}

// RunAt is Run where updates are received at the times that now tells.
func RunAt(ctx context.Context, cfg config.API, now func() time.Time, log *slog.Logger) error {
	p, err := process.OpenCurrent(ctx, process.Config{
		DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL, IngestQueues: cfg.IngestQueues,
	}, log)
	if err != nil {
		return err
	}
	sink := p.NewSink()
	front, err := Front(ctx, p, sink, FrontConfig{Webhook: cfg.Webhook, Now: now})
	if err != nil {
		return errors.Join(err, p.Close())
	}
	return lifecycle.Run(ctx, log, cfg.DrainTimeout, slices.Concat(
		p.Services(),
		[]lifecycle.Service{{Name: "accept", Run: sink.Run}},
		front,
	)...)
}

// FrontConfig says how webhooks are received.
type FrontConfig struct {
	Webhook config.Webhook
	// Now tells the time at which updates are received; nil is the clock of the machine.
	Now func() time.Time
}

// Front returns the services that receive webhooks and put them into sink. It takes the address at once, so that a port in use
// is known before anything starts.
func Front(ctx context.Context, p *process.Process, sink ingest.Sink, cfg FrontConfig) ([]lifecycle.Service, error) {
	hook := webhook.New(webhook.Config{
		Bots: p.DB.Bots(), Sink: sink,
		AllowedNets: cfg.Webhook.WebhookAllowedNets, TrustedProxies: cfg.Webhook.TrustedProxies, Now: cfg.Now,
		Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("bots", loopBound),
	})
	p.Health.Ready("bots", hook.Ready)
	p.Health.Ready("durable", p.DurableSomewhere)
	listener, err := listen(ctx, cfg.Webhook.HTTPAddr)
	if err != nil {
		return nil, err
	}
	return []lifecycle.Service{
		{Name: "bots", Run: hook.Run},
		lifecycle.HTTP("http", listener, handler(hook, obs.Mux(p.Registry, p.Health)), p.Log),
	}, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := lifecycle.Listen(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	return listener, nil
}

// handler sends webhooks to hook and everything else to mux. The prefix is matched before the mux, which redirects paths that are not
// clean: Telegram counts a redirect as a failure.
func handler(hook, mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, webhook.Prefix):
			hook.ServeHTTP(w, r)
		case strings.Contains(r.URL.Path, "//") || path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") && r.URL.Path != "/":
			http.NotFound(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}
