// Package worker wires the process that turns queued updates into rows: it serves the ingest queues, drains the spool, polls the
// bots that have no webhook, and keeps house. Any number of workers may run side by side.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/source/polling"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

const (
	// loopBound is how long a short loop of the process may be silent.
	loopBound = 30 * time.Second
	// drainBound allows for a turn of the spool's drain that has to cut batches on a slow database, which is many commits.
	drainBound = 10 * time.Minute
	// backfillConcurrency is how many pages of history a worker has in hand: enough for one transaction to be filled while another runs.
	backfillConcurrency = 2
)

// Run runs a worker until ctx ends, and then finishes the batches that it holds.
func Run(ctx context.Context, cfg config.Worker, log *slog.Logger) error {
	p, err := process.OpenCurrent(ctx, process.Config{
		DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL, IngestQueues: cfg.IngestQueues,
	}, log)
	if err != nil {
		return err
	}
	p.Health.Ready("database", p.DB.Ping)
	p.Health.Ready("queue", p.Queue.Probe)
	sink := p.NewSink()
	polling, err := Polling(p, sink, PollingConfig{SecretKeys: cfg.SecretKeys, BotAPIURL: cfg.BotAPIURL})
	if err != nil {
		return errors.Join(err, p.Close())
	}
	metrics, err := p.Metrics(ctx, cfg.MetricsAddr)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	work := Work(p, WorkConfig{
		Concurrency: cfg.WorkerConcurrency, Drain: cfg.DrainTimeout * 2 / 3, LedgerRetention: cfg.LedgerRetention,
	})
	return lifecycle.Run(ctx, log, cfg.DrainTimeout, slices.Concat(
		p.Services(),
		[]lifecycle.Service{metrics},
		work,
		[]lifecycle.Service{{Name: "accept", Run: sink.Run}},
		polling,
	)...)
}

// WorkConfig says how much a worker does at once, how long it may take to stop, and how long it keeps the ledger (0: for ever).
type WorkConfig struct {
	Concurrency     int
	Drain           time.Duration
	LedgerRetention time.Duration
}

// Work returns the services that settle what is queued and spooled, and keep house.
func Work(p *process.Process, cfg WorkConfig) []lifecycle.Service {
	settler := tasks.NewSettler(tasks.SettlerConfig{
		Archive: p.DB.Archive(),
		Normaliser: normalise.Set{
			ingest.BotAPIJSON: botapi.New(), ingest.MTProtoTL: mtproto.New(), ingest.SealedTL: mtproto.NewSealed(),
		},
		Log:        p.Log,
		Registerer: p.Registry,
	})
	drain := tasks.NewDrain(tasks.DrainConfig{
		Spool: p.DB.Spool(), Settler: settler, Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("spool", drainBound),
	})
	housekeeping := tasks.NewHousekeeping(tasks.HousekeepingConfig{
		Ledger: p.DB.Archive(), DeadLetters: p.DB.DeadLetters(), Now: time.Now, Retention: cfg.LedgerRetention,
		Log: p.Log, Registerer: p.Registry,
		Beat: p.Health.Loop("housekeeping", tasks.HousekeepingBound),
	})
	return []lifecycle.Service{
		{Name: "settler", Run: settler.Run},
		together("queues",
			p.Queue.Serve(queue.ServerConfig{
				Class: tasks.IngestClass, Concurrency: cfg.Concurrency, Drain: cfg.Drain,
				Handlers:    []queue.Handler{tasks.HandleIngest(settler)},
				Undecodable: settler.BuryMessage,
				Beat:        p.Health.Loop("queue", queue.ServeBound),
			}),
			p.Queue.Serve(queue.ServerConfig{
				Class: tasks.BackfillClass, Concurrency: backfillConcurrency, Drain: cfg.Drain,
				Handlers:    []queue.Handler{tasks.HandleBackfill(settler)},
				Undecodable: settler.BuryMessage,
				Beat:        p.Health.Loop("backfill", queue.ServeBound),
			}),
		),
		{Name: "spool", Run: drain.Run},
		{Name: "housekeeping", Run: housekeeping.Run},
	}
}

// together returns the service that runs services side by side: each may take the whole drain time to stop, and one after the other they would take
// longer than the process has. It ends when the first of them does.
func together(name string, services ...lifecycle.Service) lifecycle.Service {
	return lifecycle.Service{Name: name, Run: func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, s := range services {
			group.Go(func() error {
				if err := s.Run(ctx); err != nil || ctx.Err() == nil {
					return fmt.Errorf("%s ended: %w", s.Name, cmp.Or(err, errUnasked))
				}
				return nil
			})
		}
		return group.Wait()
	}}
}

// errUnasked is why a process stops one of whose parts has ended by itself.
var errUnasked = errors.New("nobody asked it to")

// PollingConfig says where bots are polled and what opens their tokens.
type PollingConfig struct {
	// SecretKeys may be empty where no bot is polled.
	SecretKeys seal.Secret
	BotAPIURL  string
}

// Polling returns the services that poll the bots that have no webhook and put their updates into sink; none without keys, because
// tokens can't be opened then.
func Polling(p *process.Process, sink ingest.Sink, cfg PollingConfig) ([]lifecycle.Service, error) {
	if cfg.SecretKeys == "" {
		p.Log.Info("no SECRET_KEYS: this worker polls no bots")
		return nil, nil
	}
	ring, err := seal.ParseRing(cfg.SecretKeys)
	if err != nil {
		return nil, fmt.Errorf("SECRET_KEYS: %w", err)
	}
	poller, err := polling.New(polling.Config{
		Bots: p.DB.Bots(), Leases: p.DB.Leases(), Tokens: ring, Sink: sink, BotAPIURL: cfg.BotAPIURL,
		Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("polling", loopBound),
	})
	if err != nil {
		return nil, fmt.Errorf("polling: %w", err)
	}
	return []lifecycle.Service{{Name: "polling", Run: poller.Run}}, nil
}
