package tasks

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// claimRows is how many rows of the spool a worker holds at a time; they are settled together and share transactions.
	claimRows = 16
	// claimHold is for how long nobody else takes a row: short for those who wait for the rows of a dead worker. A live one holds
	// its rows on every holdEvery, so that a hold outlasts a try that fails.
	claimHold = 12 * time.Second
	holdEvery = 4 * time.Second
	// claimWithin, holdWithin and postponeWithin bound the small writes beside the commits.
	claimWithin    = 5 * time.Second
	holdWithin     = 3 * time.Second
	postponeWithin = 5 * time.Second
	// spoolEvery is how often an empty spool is looked at.
	spoolEvery = time.Second
	// backlogEvery is how often all of the spool is counted, and backlogWithin bounds that.
	backlogEvery  = 5 * time.Second
	backlogWithin = 5 * time.Second
)

// Spool is where batches wait that the queue did not take.
type Spool interface {
	// Claim returns up to limit batches that are due, and keeps them from others for hold. A row whose claim before ended in no
	// other way than by its time has a crash more.
	Claim(ctx context.Context, limit int, hold time.Duration) ([]ingest.Spooled, error)
	// CountFailure counts one more failure of the batch id, durably, and returns how many there were.
	CountFailure(ctx context.Context, id int64) (int, error)
	// Postpone ends the claim of the batch id in good order and makes it due in pause from now.
	Postpone(ctx context.Context, id int64, pause time.Duration) error
	// Hold keeps claimed rows from others for hold from now; it leaves those alone whose claim has ended.
	Hold(ctx context.Context, ids []int64, hold time.Duration) error
	// Mark notes that a part of a claimed row is about to be run, and holds the row for hold from now.
	Mark(ctx context.Context, row ingest.Spooled, part int, hold time.Duration) error
	// Unmark takes the mark off again.
	Unmark(ctx context.Context, row ingest.Spooled) error
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
	// The rest belongs to Run. counted is when the spool was counted last.
	counted             time.Time
	unread, uncountable obs.Spell

	mu sync.Mutex
	// owed are rows that could not be given back in good order, because the database was away: at most as many as one claim takes.
	owed map[int64]struct{}
}

// NewDrain returns a drain.
func NewDrain(cfg DrainConfig) *Drain {
	return &Drain{
		spool: cfg.Spool, settler: cfg.Settler, log: cfg.Log, beat: cfg.Beat, metrics: newSpoolMetrics(cfg.Registerer),
		owed: make(map[int64]struct{}),
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
		if d.turn(ctx) {
			next.Reset(0)
		} else {
			next.Reset(spoolEvery)
		}
	}
}

// turn settles what is due and reports whether more may wait.
func (d *Drain) turn(ctx context.Context) (more bool) {
	rows, err := d.claim(ctx)
	if ctx.Err() == nil {
		switch tell, lasted := d.unread.Note(err != nil); {
		case tell && err != nil:
			d.log.Warn("spool not read", "error", err)
		case tell:
			d.log.Info("spool read again", "after", lasted)
		}
	}
	if err != nil {
		return false
	}
	d.count(ctx)
	return d.drain(ctx, rows) && len(rows) == claimRows
}

// claim gives back what is owed and claims what is due.
func (d *Drain) claim(ctx context.Context) ([]ingest.Spooled, error) {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	d.mu.Lock()
	owed := slices.Collect(maps.Keys(d.owed))
	d.mu.Unlock()
	for _, id := range owed {
		if err := d.spool.Postpone(ctx, id, 0); err != nil {
			return nil, err
		}
		d.mu.Lock()
		delete(d.owed, id)
		d.mu.Unlock()
	}
	return d.spool.Claim(ctx, claimRows, claimHold)
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
	if ctx.Err() != nil {
		return
	}
	switch tell, lasted := d.uncountable.Note(err != nil); {
	case tell && err != nil:
		d.log.Warn("spool not counted", "error", err)
	case tell:
		d.log.Info("spool counted again", "after", lasted)
	}
	if err == nil {
		d.metrics.counted(updates, oldest)
	}
}

// drain settles rows and reports whether all of them are.
func (d *Drain) drain(ctx context.Context, rows []ingest.Spooled) bool {
	if len(rows) == 0 {
		return true
	}
	settling := context.WithoutCancel(ctx)
	holding, settled := context.WithCancel(settling)
	var held sync.WaitGroup
	held.Go(func() { d.hold(holding, rows) })
	defer held.Wait()
	defer settled()
	var all errgroup.Group
	for _, row := range rows {
		all.Go(func() error {
			err := d.settler.settle(settling, work{
				from: fromSpool, payload: row.Payload, spoolIDs: []int64{row.ID}, crashes: row.Crashes, traces: spoolTraces{d.spool, row},
				countFailure: func(ctx context.Context) (int, error) { return d.spool.CountFailure(ctx, row.ID) },
			})
			d.postpone(settling, row, err)
			return err
		})
	}
	return all.Wait() == nil
}

// hold keeps rows from others until ctx ends. What fails is tried again at the next turn; should all turns fail, others take the rows as
// they take those of a dead worker, which is harmless.
func (d *Drain) hold(ctx context.Context, rows []ingest.Spooled) {
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, holdWithin)
		if err := d.spool.Hold(within, ids, claimHold); err != nil && ctx.Err() == nil {
			d.log.Debug("rows of the spool not held on", "error", err)
		}
		cancel()
	}
}

// spoolTraces are the traces in a row of the spool.
type spoolTraces struct {
	spool Spool
	row   ingest.Spooled
}

// Blamed implements traces.
func (t spoolTraces) Blamed(context.Context) ([]int, error) { return t.row.Blamed, nil }

// Mark implements traces. A marked row is held for as long as an update may take: a worker that is alive must not lose it.
func (t spoolTraces) Mark(ctx context.Context, part int) error {
	return t.spool.Mark(ctx, t.row, part, aloneWithin)
}

// Unmark implements traces.
func (t spoolTraces) Unmark(ctx context.Context) error { return t.spool.Unmark(ctx, t.row) }

// postpone gives a row back in good order whose batch has to come back: its hold is made for a worker that dies, and counts a crash
// when it ends.
func (d *Drain) postpone(ctx context.Context, row ingest.Spooled, err error) {
	if err == nil {
		return
	}
	pause, _ := fault.After(err)
	ctx, cancel := context.WithTimeout(ctx, postponeWithin)
	defer cancel()
	if err := d.spool.Postpone(ctx, row.ID, pause); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.owed[row.ID] = struct{}{}
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
