package tasks

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// housekeepingEvery is short against a day, so that a worker that starts late or fails once still is in time.
	housekeepingEvery = 10 * time.Minute
	// prepareWithin and trimWithin bound what is done at each turn.
	prepareWithin = time.Minute
	trimWithin    = time.Minute
	// daysAhead is how many days the ledger is prepared for: a long weekend without a worker.
	daysAhead = 4
	// lettersEvery is how often the open dead letters are counted, and lettersWithin bounds that.
	lettersEvery  = 15 * time.Second
	lettersWithin = 5 * time.Second
)

// otherClass is a class of dead letters that this version does not give: a newer one does, or an older one did.
const otherClass = "other"

// undecided is the reason for which a day of the ledger stays that could not be dropped, or was not come to.
const undecided = "undecided"

// Ledger is the days of the ledger.
type Ledger interface {
	// PreparePartitions makes room for the days from a time on.
	PreparePartitions(ctx context.Context, from time.Time, days int) error
	// TrimLedger drops the days that are older than the retention, and of which nothing is owed.
	TrimLedger(ctx context.Context, now time.Time, retention time.Duration) (ingest.Trimmed, error)
}

// DeadLetters tells how many updates wait for somebody to look at them.
type DeadLetters interface {
	// Open returns how many letters there are of each class that has any.
	Open(ctx context.Context) (map[string]int, error)
}

// HousekeepingConfig is what a Housekeeping is made of. Every field but Retention must be set.
type HousekeepingConfig struct {
	Ledger      Ledger
	DeadLetters DeadLetters
	// Now is the clock that says which day it is.
	Now func() time.Time
	// Retention is how long the ledger is kept; 0 means for ever.
	Retention  time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Beat ticks while the loop of the housekeeping moves.
	Beat *obs.Beat
}

// Housekeeping keeps the archive in order: it prepares the ledger for the next days, drops the days that are older than the retention, and
// tells how many dead letters there are. It may run in any number of workers at once.
type Housekeeping struct {
	ledger    Ledger
	letters   DeadLetters
	now       func() time.Time
	retention time.Duration
	log       *slog.Logger
	beat      *obs.Beat
	open      *prometheus.GaugeVec
	dropped   prometheus.Counter
	overdue   *prometheus.GaugeVec
	// uncountable belongs to Run.
	uncountable obs.Spell
}

// NewHousekeeping returns the housekeeping of an archive.
func NewHousekeeping(cfg HousekeepingConfig) *Housekeeping {
	h := &Housekeeping{
		ledger: cfg.Ledger, letters: cfg.DeadLetters, now: cfg.Now, retention: cfg.Retention, log: cfg.Log, beat: cfg.Beat,
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tgfleet_archive_dead_letters_open",
			Help: "Dead letters that wait for somebody, as every worker sees them every few seconds.",
		}, []string{"class"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tgfleet_ledger_days_dropped_total",
			Help: "Days of the ledger that this worker has dropped because they were older than the retention.",
		}),
		overdue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tgfleet_ledger_days_overdue",
			Help: "Days of the ledger that are older than the retention and stay, as every worker sees them at each turn.",
		}, []string{"reason"}),
	}
	h.counted(nil)
	h.kept(ingest.Trimmed{})
	cfg.Registerer.MustRegister(h.open, h.dropped, h.overdue)
	return h
}

// HousekeepingBound is how long the loop may be silent in good health: twice the slowest turn of each kind and the wait between them.
const HousekeepingBound = 2 * (lettersEvery + lettersWithin + prepareWithin + trimWithin)

// Run keeps house until ctx ends. What fails is logged and done again at the next turn.
func (h *Housekeeping) Run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	count := time.NewTimer(0)
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			h.turn(ctx)
			next.Reset(housekeepingEvery)
		case <-count.C:
			h.count(ctx)
			count.Reset(lettersEvery)
		}
		h.beat.Tick()
	}
}

// count looks how many dead letters there are. What it can't see now stays as it was seen last.
func (h *Housekeeping) count(ctx context.Context) {
	counting, cancel := context.WithTimeout(ctx, lettersWithin)
	defer cancel()
	letters, err := h.letters.Open(counting)
	if ctx.Err() != nil {
		return
	}
	switch tell, lasted := h.uncountable.Note(err != nil); {
	case tell && err != nil:
		h.log.Warn("dead letters not counted", "error", err)
	case tell:
		h.log.Info("dead letters counted again", "after", lasted)
	}
	if err == nil {
		h.counted(letters)
	}
}

// counted sets every class, so that those which have no letters any more are back at 0.
func (h *Housekeeping) counted(letters map[string]int) {
	others := 0
	for class, n := range letters {
		if !slices.Contains(DeadLetterClasses, class) {
			others += n
		}
	}
	h.open.WithLabelValues(otherClass).Set(float64(others))
	for _, class := range DeadLetterClasses {
		h.open.WithLabelValues(class).Set(float64(letters[class]))
	}
}

func (h *Housekeeping) turn(ctx context.Context) {
	h.prepare(ctx)
	h.trim(ctx)
}

// prepare comes before all else at a turn: a day that is not prepared costs more than one that stays too long.
func (h *Housekeeping) prepare(ctx context.Context) {
	preparing, cancel := context.WithTimeout(ctx, prepareWithin)
	defer cancel()
	if err := h.ledger.PreparePartitions(preparing, h.now(), daysAhead); err != nil && ctx.Err() == nil {
		h.log.Error("ledger not prepared for the next days", "error", err)
	}
}

func (h *Housekeeping) trim(ctx context.Context) {
	trimming, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	begun := time.Now()
	trimmed, err := h.ledger.TrimLedger(trimming, h.now(), h.retention)
	h.dropped.Add(float64(len(trimmed.Dropped)))
	if ctx.Err() != nil {
		return
	}
	if err != nil && trimmed.Undecided == 0 {
		h.log.Error("ledger not trimmed", "error", err) // what could not be seen stays as it was seen last
		return
	}
	reasons := h.kept(trimmed)
	if err == nil && len(trimmed.Dropped) == 0 {
		return // the metric tells what is kept
	}
	attributes := []any{"dropped", len(trimmed.Dropped), "kept", reasons, "duration", time.Since(begun)}
	if len(trimmed.Dropped) > 0 {
		attributes = append(attributes, "first", trimmed.Dropped[0].Format(time.DateOnly),
			"last", trimmed.Dropped[len(trimmed.Dropped)-1].Format(time.DateOnly))
	}
	if err != nil {
		h.log.Error("ledger not trimmed", append(attributes, "error", err)...)
		return
	}
	h.log.Info("ledger trimmed", attributes...)
}

// kept sets every reason for which days stay, and returns the number of days for each.
func (h *Housekeeping) kept(trimmed ingest.Trimmed) map[string]int {
	reasons := map[string]int{
		string(ingest.KeptForEvents): 0, string(ingest.KeptForDeadLetters): 0, string(ingest.KeptForReplay): 0, undecided: trimmed.Undecided,
	}
	for _, reason := range trimmed.Kept {
		reasons[string(reason)]++
	}
	for reason, n := range reasons {
		h.overdue.WithLabelValues(reason).Set(float64(n))
	}
	return reasons
}
