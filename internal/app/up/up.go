// Package up wires the whole fleet into one process: webhooks, polling or sessions of accounts in, the queue, the workers and the archive, with
// nothing to install. Its queue may be a Redis inside the process, which dies with it; so every batch goes into the database's spool
// first, and a killed process loses nothing that it had answered for.
package up

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/tgfleet/tgfleet/internal/accept"
	"github.com/tgfleet/tgfleet/internal/app/api"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/app/worker"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/queue/embedded"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

// loopBound is how long a short loop of the process may be silent.
const loopBound = 30 * time.Second

// Options is what the command line says.
type Options struct {
	// DataDir holds the database and the keys that the environment does not name.
	DataDir string
	// Simulate adds a fake Telegram with lively bots and an account; Rate is how many updates a second it sends.
	Simulate bool
	Rate     float64
	// Out gets what a person should see, Terminal says that lines on it can be drawn over.
	Out      io.Writer
	Terminal bool
	// Program is how this program was called, for commands that a person may type.
	Program string
}

// Run runs the fleet until ctx ends, and then drains it.
func Run(ctx context.Context, cfg config.Up, opts Options, log *slog.Logger) error {
	home, err := findHome(opts.DataDir, cfg)
	if err != nil {
		return err
	}
	redis, err := startRedis(&home)
	if err != nil {
		return err
	}
	p, err := process.Open(ctx, process.Config{
		DatabaseURL: home.databaseURL, RedisURL: home.redisURL, IngestQueues: cfg.IngestQueues,
	}, log)
	if err != nil {
		return errors.Join(err, redis.end(ctx))
	}
	fleet, err := assemble(ctx, p, cfg, opts, home)
	if err != nil {
		return errors.Join(err, p.Close(), redis.end(ctx))
	}
	live := newLive(p, opts)
	live.announce(cfg, home)
	err = lifecycle.Run(ctx, log, cfg.DrainTimeout, slices.Concat(
		redis.services(), p.Services(), fleet, []lifecycle.Service{{Name: "live", Run: live.run}},
	)...)
	live.farewell()
	return err
}

// assemble migrates the database and returns the services above it, from the workers up to the simulated Telegram.
func assemble(ctx context.Context, p *process.Process, cfg config.Up, opts Options, home home) ([]lifecycle.Service, error) {
	if err := p.DB.Migrate(ctx); err != nil {
		return nil, err
	}
	sink, err := newSink(ctx, p, home)
	if err != nil {
		return nil, err
	}
	if err := addTokenBot(ctx, p, cfg, home); err != nil {
		return nil, err
	}
	front, err := api.Front(ctx, p, sink, api.FrontConfig{Webhook: cfg.Webhook})
	if err != nil {
		return nil, err
	}
	polling, err := worker.Polling(p, sink, worker.PollingConfig{SecretKeys: home.secretKeys, BotAPIURL: cfg.BotAPIURL})
	if err != nil {
		return nil, err
	}
	var listening, simulated []lifecycle.Service
	if opts.Simulate {
		if listening, err = simulateAccount(ctx, p, sink, home.secretKeys, opts.Rate); err == nil {
			simulated, err = simulate(ctx, p, cfg, opts, home)
		}
	} else {
		listening, err = accounts(p, sink, home.secretKeys, cfg.Telegram)
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat(
		worker.Work(p, worker.WorkConfig{
			Concurrency: cfg.WorkerConcurrency, Drain: cfg.DrainTimeout / 2, LedgerRetention: cfg.LedgerRetention,
		}),
		[]lifecycle.Service{{Name: "queue emptied", Run: emptied{p, cfg.DrainTimeout / 4}.run}, {Name: "accept", Run: sink.Run}},
		front, polling, listening, simulated,
	), nil
}

// newSink returns the sink of a fleet whose queue may die with the process.
func newSink(ctx context.Context, p *process.Process, home home) (*accept.Sink, error) {
	cfg := accept.Config{
		Queue: tasks.IngestQueue{Client: p.Queue}, Spool: p.DB.Spool(),
		Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("accept", loopBound),
	}
	if !home.queueDiesWithUs {
		return accept.New(cfg), nil
	}
	// Whatever is in the spool was left by a process that is gone, and so is its queue.
	if _, err := p.DB.Spool().Release(ctx); err != nil {
		return nil, err
	}
	return accept.NewSpoolFirst(cfg), nil
}

// emptied holds the workers back from stopping until they have emptied the queue, so that a drained fleet leaves nothing to do.
type emptied struct {
	p      *process.Process
	within time.Duration
}

func (e emptied) run(ctx context.Context) error {
	<-ctx.Done()
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.within)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		depth, err := e.p.Queue.Depth(waiting, tasks.IngestClass)
		if err != nil || depth.Pending+depth.Active+depth.Retry == 0 {
			return nil // what is left is in the spool or in a queue that lives on
		}
		select {
		case <-waiting.Done():
			return nil
		case <-look.C:
		}
	}
}

// redis is the queue's server, when it is inside the process.
type redis struct {
	inside *embedded.Redis
}

// startRedis starts a Redis inside the process where home asks for one, and tells home its address.
func startRedis(home *home) (redis, error) {
	if !home.queueDiesWithUs {
		return redis{}, nil
	}
	inside, err := embedded.Start()
	if err != nil {
		return redis{}, err
	}
	home.redisURL = inside.URL()
	return redis{inside: inside}, nil
}

func (r redis) services() []lifecycle.Service {
	if r.inside == nil {
		return nil
	}
	return []lifecycle.Service{{Name: "redis", Run: r.inside.Run}}
}

// end ends a Redis whose service never ran.
func (r redis) end(ctx context.Context) error {
	if r.inside == nil {
		return nil
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	return r.inside.Run(ended)
}
