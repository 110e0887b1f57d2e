// Package process opens what every process of the fleet stands on: the log, the metrics, the health, the database and the
// queue. It starts nothing and waits for no server: a process of ours starts while Redis or the database is away, and serves as
// soon as they answer.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/accept"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

const (
	// checkWithin bounds the look at the schema when a process starts.
	checkWithin = 5 * time.Second
	// acceptBound is how long the sink's loop may be silent.
	acceptBound = 30 * time.Second
)

// Config names the servers of a process.
type Config struct {
	DatabaseURL  seal.Secret
	RedisURL     seal.Secret
	IngestQueues int
}

// Process is what the parts of one process share.
type Process struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Health   *obs.Health
	DB       *store.DB
	Queue    *queue.Client
}

// Open opens what cfg names. The caller runs Services below everything else, which closes it again.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Process, error) {
	p := &Process{Log: log, Registry: obs.NewRegistry(), Health: obs.NewHealth()}
	var err error
	p.DB, err = store.Open(ctx, cfg.DatabaseURL, store.Options{Log: log, Registerer: p.Registry})
	if err != nil {
		return nil, err
	}
	p.Queue, err = queue.Open(cfg.RedisURL, queue.Options{
		Log: log, Registerer: p.Registry, Shards: map[queue.Class]int{tasks.IngestClass: cfg.IngestQueues, tasks.BackfillClass: 1},
	})
	if err != nil {
		return nil, errors.Join(err, p.DB.Close())
	}
	return p, nil
}

// OpenCurrent is Open for a process that works with the schema as it has to be: a database whose schema is too old is refused.
func OpenCurrent(ctx context.Context, cfg Config, log *slog.Logger) (*Process, error) {
	p, err := Open(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	if err := p.CheckSchema(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// NewSink returns the process's sink: the queue, and the spool while the queue does not take updates. Its Run is a service.
func (p *Process) NewSink() *accept.Sink {
	return accept.New(accept.Config{
		Queue: tasks.IngestQueue{Client: p.Queue}, Spool: p.DB.Spool(),
		Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("accept", acceptBound),
	})
}

// Metrics takes addr, METRICS_ADDR, and returns the service that answers there.
func (p *Process) Metrics(ctx context.Context, addr string) (lifecycle.Service, error) {
	listener, err := lifecycle.Listen(ctx, addr)
	if err != nil {
		return lifecycle.Service{}, fmt.Errorf("METRICS_ADDR: %w", err)
	}
	return lifecycle.HTTP("metrics", listener, obs.Mux(p.Registry, p.Health), p.Log), nil
}

// CheckSchema refuses a database whose schema is too old for this program. A database that does not answer is no reason not to start.
func (p *Process) CheckSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	err := p.DB.CheckSchema(ctx)
	if fault.ClassOf(err) == fault.Transient {
		p.Log.Warn("schema not checked: the database does not answer", "error", err)
		return nil
	}
	return err
}

// Services returns what keeps the connections open until everything above has stopped.
func (p *Process) Services() []lifecycle.Service {
	return []lifecycle.Service{lifecycle.Closer("database", p.DB.Close), lifecycle.Closer("queue", p.Queue.Close)}
}

// Close closes the connections of a process that did not get as far as to run its Services.
func (p *Process) Close() error {
	return errors.Join(p.Queue.Close(), p.DB.Close())
}

// durableWithin bounds the look at one store: shorter than the answer of /ready, so that a store that hangs hides no other.
const durableWithin = 700 * time.Millisecond

// DurableSomewhere returns nil while the queue or the spool takes updates. It asks both at once.
func (p *Process) DurableSomewhere(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, durableWithin)
	defer cancel()
	answers := make(chan error, 2)
	go func() { answers <- p.Queue.Probe(ctx) }()
	go func() { answers <- p.DB.Archive().Probe(ctx) }()
	first := <-answers
	if first == nil {
		return nil
	}
	if second := <-answers; second != nil {
		return fmt.Errorf("nothing durable takes updates: %w", errors.Join(first, second))
	}
	return nil
}
