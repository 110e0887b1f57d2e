package tasks

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// claimRows is how many rows of the spool a worker holds at a time; they are settled together and share transactions.
	claimRows = 16
	// claimHold is for how long nobody else takes a row: longer than a commit may take, short for those who wait for the rows
	// of a dead worker.
	claimHold = 40 * time.Second
	// spoolEvery is how often an empty spool is looked at.
	spoolEvery = time.Second
)

// Spool is where batches wait that the queue did not take.
type Spool interface {
	// Claim returns up to limit batches that are due, and keeps them from others for hold.
	Claim(ctx context.Context, limit int, hold time.Duration) ([]ingest.Spooled, error)
	// CountFailure counts one more failure of the batch id, durably, and returns how many there were.
	CountFailure(ctx context.Context, id int64) (int, error)
}

// Drain empties the spool: rows are settled by the same code as the queue's tasks, and deleted in the transaction that commits
// them. Any number of workers may drain one spool.
type Drain struct {
	spool   Spool
	settler *Settler
	log     *slog.Logger
	beat    *obs.Beat
}

// NewDrain returns a drain of spool. beat ticks while its loop moves.
func NewDrain(spool Spool, settler *Settler, log *slog.Logger, beat *obs.Beat) *Drain {
	return &Drain{spool: spool, settler: settler, log: log, beat: beat}
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
		if d.drain(ctx) {
			next.Reset(0)
		} else {
			next.Reset(spoolEvery)
		}
	}
}

// drain settles what is due and reports whether more may wait.
func (d *Drain) drain(ctx context.Context) bool {
	rows, err := d.spool.Claim(ctx, claimRows, claimHold)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("spool not read", "error", err)
		}
		return false
	}
	settling := context.WithoutCancel(ctx)
	var all errgroup.Group
	for _, row := range rows {
		all.Go(func() error { return d.settle(settling, row) })
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
