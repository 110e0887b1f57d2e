package mtproto

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// Run works for the listener's share of the connectors until ctx ends, and then returns nil once every client has stopped and every lease is
// given back. Run must not run twice at a time.
func (l *Listener) Run(ctx context.Context) error {
	fleet := fleet{listener: l, running: map[string]*running{}}
	defer fleet.ending.Wait()
	defer l.leave(ctx)
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	var failing obs.Spell
	for {
		l.cfg.Beat.Tick()
		err := fleet.refresh(ctx)
		if tell, lasted := failing.Note(err != nil && ctx.Err() == nil); tell {
			l.logChange(err, lasted)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logChange logs that refreshing fails, or works again.
func (l *Listener) logChange(err error, lasted time.Duration) {
	if err != nil {
		l.cfg.Log.Warn("connectors not refreshed, the last list is kept", "error", err, "lasts", lasted)
		return
	}
	l.cfg.Log.Info("connectors refreshed again", "lasted", lasted)
}

// leave lets the other listeners know at once that this one is gone, so that they take over each connector as its client stops.
func (l *Listener) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshWithin)
	defer cancel()
	name := presencePrefix + l.owner
	held, taken, err := l.cfg.Leases.Acquire(ctx, name, l.owner, presence)
	if err == nil && taken {
		err = l.cfg.Leases.Release(ctx, held)
	}
	if err != nil {
		l.cfg.Log.Warn("other listeners not told of the end, they notice", "within", presence, "error", err)
	}
}

// fleet is the connectors that this listener works for; it belongs to the goroutine of Listener.Run.
type fleet struct {
	listener *Listener
	// running holds a connector until its goroutine has ended: two goroutines of one process must never share a lease.
	running map[string]*running
	ending  sync.WaitGroup
}

type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// refresh makes this listener known as live, finds its share, starts what is new in it and stops what is not in it any more.
func (f *fleet) refresh(ctx context.Context) error {
	wanted, err := f.share(ctx)
	if err != nil {
		return err
	}
	for id, r := range f.running {
		if !wanted[id] {
			r.cancel()
		}
		select {
		case <-r.ended:
			delete(f.running, id)
		default:
		}
	}
	for id := range wanted {
		if f.running[id] == nil {
			f.running[id] = f.start(ctx, id)
		}
	}
	return nil
}

func (f *fleet) share(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	l := f.listener
	_, present, err := l.cfg.Leases.Acquire(ctx, presencePrefix+l.owner, l.owner, presence)
	if err == nil && !present {
		err = errors.New("its name is another's")
	}
	if err != nil {
		return nil, fmt.Errorf("make the listener known: %w", err)
	}
	live, err := l.cfg.Leases.Live(ctx, presencePrefix)
	if err != nil {
		return nil, err
	}
	connectors, err := l.cfg.Connectors.List(ctx)
	if err != nil {
		return nil, err
	}
	if holes, err := l.cfg.Backfills.OpenHoles(ctx); err != nil {
		l.cfg.Log.Debug("open holes not counted", "error", err)
	} else {
		l.metrics.holes.Set(float64(holes))
	}
	listeners := make([]string, len(live))
	for i := range live {
		listeners[i] = strings.TrimPrefix(live[i].Name, presencePrefix)
	}
	l.metrics.count(connectors)
	return shareOf(l.owner, listeners, active(connectors)), nil
}

// active returns the ids of the connectors that somebody has to work for.
func active(connectors []account.Connector) (ids []string) {
	for i := range connectors {
		if s := connectors[i].Status; s == account.Connected || s == account.SigningIn {
			ids = append(ids, connectors[i].ID)
		}
	}
	return ids
}

func (f *fleet) start(ctx context.Context, id string) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{cancel: cancel, ended: make(chan struct{})}
	h := newHolder(f.listener, id)
	f.ending.Go(func() {
		defer close(r.ended)
		defer cancel()
		h.run(ctx)
	})
	return r
}
