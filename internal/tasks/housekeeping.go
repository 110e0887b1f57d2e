package tasks

import (
	"context"
	"log/slog"
	"time"

	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// housekeepingEvery is short against a day, so that a worker that starts late or fails once still is in time.
	housekeepingEvery = 10 * time.Minute
	housekeepWithin   = time.Minute
	// daysAhead is how many days the ledger is prepared for: a long weekend without a worker.
	daysAhead = 4
)

// Partitions prepares the ledger for the days from a time on.
type Partitions interface {
	PreparePartitions(ctx context.Context, from time.Time, days int) error
}

// Housekeeping keeps the archive in order. It may run in any number of workers at once.
type Housekeeping struct {
	partitions Partitions
	log        *slog.Logger
	beat       *obs.Beat
}

// NewHousekeeping returns the housekeeping of an archive. beat ticks while its loop moves.
func NewHousekeeping(partitions Partitions, log *slog.Logger, beat *obs.Beat) *Housekeeping {
	return &Housekeeping{partitions: partitions, log: log, beat: beat}
}

// HousekeepingBound is how long the loop may be silent in good health.
const HousekeepingBound = 3 * housekeepingEvery

// Run keeps house until ctx ends. What fails is logged and done again at the next turn.
func (h *Housekeeping) Run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		h.beat.Tick()
		h.keep(ctx)
		next.Reset(housekeepingEvery)
	}
}

func (h *Housekeeping) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, housekeepWithin)
	defer cancel()
	if err := h.partitions.PreparePartitions(ctx, time.Now(), daysAhead); err != nil && ctx.Err() == nil {
		h.log.Error("ledger not prepared for the next days", "error", err)
	}
}
