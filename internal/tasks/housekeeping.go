package tasks

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// housekeepingEvery is short against a day, so that a worker that starts late or fails once still is in time.
	housekeepingEvery = 10 * time.Minute
	housekeepWithin   = time.Minute
	// daysAhead is how many days the ledger is prepared for: a long weekend without a worker.
	daysAhead = 4
	// lettersEvery is how often the open dead letters are counted, and lettersWithin bounds that.
	lettersEvery  = 15 * time.Second
	lettersWithin = 5 * time.Second
)

// otherClass is a class of dead letters that this version does not give: a newer one does, or an older one did.
const otherClass = "other"

// Partitions prepares the ledger for the days from a time on.
type Partitions interface {
	PreparePartitions(ctx context.Context, from time.Time, days int) error
}

// DeadLetters tells how many updates wait for somebody to look at them.
type DeadLetters interface {
	// Open returns how many letters there are of each class that has any.
	Open(ctx context.Context) (map[string]int, error)
}

// HousekeepingConfig is what a Housekeeping is made of. Every field must be set.
type HousekeepingConfig struct {
	Partitions  Partitions
	DeadLetters DeadLetters
	Log         *slog.Logger
	Registerer  prometheus.Registerer
	// Beat ticks while the loop of the housekeeping moves.
	Beat *obs.Beat
}

// Housekeeping keeps the archive in order, and tells how many dead letters are in it. It may run in any number of workers at once.
type Housekeeping struct {
	partitions Partitions
	letters    DeadLetters
	log        *slog.Logger
	beat       *obs.Beat
	open       *prometheus.GaugeVec
	// uncountable belongs to Run.
	uncountable obs.Spell
}

// NewHousekeeping returns the housekeeping of an archive.
func NewHousekeeping(cfg HousekeepingConfig) *Housekeeping {
	h := &Housekeeping{
		partitions: cfg.Partitions, letters: cfg.DeadLetters, log: cfg.Log, beat: cfg.Beat,
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tgfleet_archive_dead_letters_open",
			Help: "Dead letters that wait for somebody, as every worker sees them every few seconds.",
		}, []string{"class"}),
	}
	h.counted(nil)
	cfg.Registerer.MustRegister(h.open)
	return h
}

// HousekeepingBound is how long the loop may be silent in good health: twice the slowest turn of each kind and the wait between them.
const HousekeepingBound = 2 * (lettersEvery + lettersWithin + housekeepWithin)

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
			h.keep(ctx)
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

func (h *Housekeeping) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, housekeepWithin)
	defer cancel()
	if err := h.partitions.PreparePartitions(ctx, time.Now(), daysAhead); err != nil && ctx.Err() == nil {
		h.log.Error("ledger not prepared for the next days", "error", err)
	}
}
