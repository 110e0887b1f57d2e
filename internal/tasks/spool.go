package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// claimRows is how many rows of the spool a worker holds at a time; they are settled together and share transactions.
	claimRows = 16
	// claimHold is for how long nobody else takes a row: longer than a commit may take, short for those who wait for the rows
	// of a dead worker.
	claimHold = 40 * time.Second
	// claimWithin and postponeWithin bound the small writes beside the commits.
	claimWithin    = 5 * time.Second
	postponeWithin = 5 * time.Second
	// spoolEvery is how often an empty spool is looked at.
	spoolEvery = time.Second
	// backlogEvery is how often all of the spool is counted, and backlogWithin bounds that.
	backlogEvery  = 5 * time.Second
	backlogWithin = 5 * time.Second
)

// Spool is where batches wait that the queue did not take.
type Spool interface {
	// Claim returns up to limit batches that are due, and keeps them from others for hold.
	Claim(ctx context.Context, limit int, hold time.Duration) ([]ingest.Spooled, error)
	// CountFailure counts one more failure of the batch id, durably, and returns how many there were.
	CountFailure(ctx context.Context, id int64) (int, error)
	// Postpone makes the batch id due in pause from now.
	Postpone(ctx context.Context, id int64, pause time.Duration) error
	// Backlog returns how many updates wait and when the oldest of them was received; the zero time when none waits.
	Backlog(ctx context.Context) (updates int, oldest time.Time, err error)
}

// DrainConfig is what a Drain is made of. Every field must be set.
type DrainConfig struct {
	Spool      Spool
	Settler    *Settler
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Beat ticks while the drain's loop moves.
	Beat *obs.Beat
}

// Drain empties the spool: rows are settled by the same code as the queue's tasks, and deleted in the transaction that commits
// them. Any number of workers may drain one spool.
type Drain struct {
	spool   Spool
	settler *Settler
	log     *slog.Logger
	beat    *obs.Beat
	metrics *spoolMetrics
	// counted is when the spool was counted last; it belongs to Run.
	counted time.Time
}

// NewDrain returns a drain.
func NewDrain(cfg DrainConfig) *Drain {
	return &Drain{
		spool: cfg.Spool, settler: cfg.Settler, log: cfg.Log, beat: cfg.Beat, metrics: newSpoolMetrics(cfg.Registerer),
	}
}

// Run drains until ctx ends; the rows that it holds then are settled first.
func (d *Drain) Run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		d.beat.Tick()
		d.count(ctx)
		if d.drain(ctx) {
			next.Reset(0)
		} else {
			next.Reset(spoolEvery)
		}
	}
}

// count looks how much waits in the spool, when it is time to. What it can't see now stays as it was seen last: updates that
// wait in a database that is away go on waiting.
func (d *Drain) count(ctx context.Context) {
	if time.Since(d.counted) < backlogEvery {
		return
	}
	d.counted = time.Now()
	counting, cancel := context.WithTimeout(ctx, backlogWithin)
	defer cancel()
	updates, oldest, err := d.spool.Backlog(counting)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("spool not counted", "error", err)
		}
		return
	}
	d.metrics.counted(updates, oldest)
}

// drain settles what is due and reports whether more may wait.
func (d *Drain) drain(ctx context.Context) bool {
	claiming, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	rows, err := d.spool.Claim(claiming, claimRows, claimHold)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("spool not read", "error", err)
		}
		return false
	}
	settling := context.WithoutCancel(ctx)
	var all errgroup.Group
	for _, row := range rows {
		all.Go(func() error {
			err := d.settle(settling, row)
			d.postpone(settling, row, err)
			return err
		})
	}
	return all.Wait() == nil && len(rows) == claimRows
}

func (d *Drain) settle(ctx context.Context, row ingest.Spooled) error {
	w := work{
		from:         fromSpool,
		spoolIDs:     []int64{row.ID},
		countFailure: func(ctx context.Context) (int, error) { return d.spool.CountFailure(ctx, row.ID) },
	}
	b, err := batch.Decode(row.Payload)
	if err != nil {
		return d.settler.bury(ctx, w, undecodable(row.Payload, err))
	}
	w.envelopes = b.Envelopes
	return d.settler.settle(ctx, w)
}

// postpone gives a row back early whose batch has to come back: its hold is made for a worker that dies.
func (d *Drain) postpone(ctx context.Context, row ingest.Spooled, err error) {
	pause, asked := fault.After(err)
	if !asked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, postponeWithin)
	defer cancel()
	if err := d.spool.Postpone(ctx, row.ID, pause); err != nil {
		d.log.Warn("spooled batch not postponed, it comes back when its hold ends", "spool_id", row.ID, "error", err)
	}
}

type spoolMetrics struct {
	updates prometheus.Gauge
	// oldest is when the oldest update was received, in nanoseconds since 1970; 0 when none waits. Written by Run, read by scrapes.
	oldest atomic.Int64
}

func newSpoolMetrics(reg prometheus.Registerer) *spoolMetrics {
	m := &spoolMetrics{updates: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tgfleet_spool_updates", Help: "Updates in the spool, as every worker sees it every few seconds.",
	})}
	reg.MustRegister(m.updates, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tgfleet_spool_oldest_age_seconds",
		Help: "Time since the oldest update in the spool was received; 0 when the spool is empty.",
	}, m.age))
	return m
}

func (m *spoolMetrics) counted(updates int, oldest time.Time) {
	m.updates.Set(float64(updates))
	if oldest.IsZero() {
		m.oldest.Store(0)
		return
	}
	m.oldest.Store(oldest.UnixNano())
}

func (m *spoolMetrics) age() float64 {
	oldest := m.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(0, time.Since(time.Unix(0, oldest)).Seconds())
}
