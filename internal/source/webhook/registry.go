package webhook

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// refreshEvery is how long a new bot waits at most before its webhook is served; Telegram retries meanwhile.
	refreshEvery  = 2 * time.Second
	refreshWithin = 5 * time.Second
)

var errNotLoaded = errors.New("the bots have not been loaded yet: is the database reachable and migrated?")

// registry is the list of bots in memory, so that no request waits for a database. A list that can't be refreshed is kept.
type registry struct {
	bots Bots
	log  *slog.Logger
	beat *obs.Beat

	// current maps opaque ids to bots; nil until it was loaded once. Written by Run, read by requests.
	current atomic.Pointer[map[string]account.Bot]
}

// load returns the present list, or nil before there is one.
func (r *registry) load() map[string]account.Bot {
	if current := r.current.Load(); current != nil {
		return *current
	}
	return nil
}

// Ready returns nil once the bots have been loaded.
func (r *registry) Ready(context.Context) error {
	if r.load() == nil {
		return errNotLoaded
	}
	return nil
}

// Run keeps the list fresh until ctx ends.
func (r *registry) Run(ctx context.Context) error {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	failing := false
	for {
		r.beat.Tick()
		err := r.refresh(ctx)
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			failing = failed
			r.logChange(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logChange logs that refreshing began to fail, or works again, and not each time.
func (r *registry) logChange(err error) {
	if err != nil {
		r.log.Warn("list of bots not refreshed, the last one is kept", "error", err)
		return
	}
	r.log.Info("list of bots refreshed again")
}

func (r *registry) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	bots, err := r.bots.List(ctx)
	if err != nil {
		return err
	}
	next := make(map[string]account.Bot, len(bots))
	for _, bot := range bots {
		next[bot.ID] = bot
	}
	r.current.Store(&next)
	return nil
}
