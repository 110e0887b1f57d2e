package mtproto

import (
	"context"
	"log/slog"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// takeEvery is how often a lease that another listener holds is asked for: how long an account is left alone after a clean stop.
	takeEvery = 500 * time.Millisecond
	// A client that ended for a reason that may pass is started again after restart, then after twice that, up to restartMost.
	restart     = time.Second
	restartMost = time.Minute
	// lastedLong is after how long a client that ends has been well, so that the next one starts soon.
	lastedLong = 5 * time.Minute
)

// holder works for one connector. All of it belongs to the goroutine of run, and state to gotd's, too.
type holder struct {
	*Listener
	id     string
	keeper *lease.Keeper
	log    *slog.Logger
	state  *obs.Standing
}

func newHolder(l *Listener, id string) *holder {
	log := l.cfg.Log.With("connector", id)
	return &holder{Listener: l, id: id, keeper: lease.NewKeeper(l.cfg.Leases, l.owner, terms, log), log: log, state: l.metrics.newState()}
}

// leaseName is what every listener calls the right to be a connector's client.
func leaseName(connectorID string) string { return "connector:" + connectorID }

// run works for the connector whenever its lease can be had, until ctx ends.
func (h *holder) run(ctx context.Context) {
	defer h.state.Leave()
	failed := pause.Backoff{Least: restart, Most: restartMost}
	for ctx.Err() == nil {
		held, taken, err := h.keeper.Take(ctx, leaseName(h.id))
		switch {
		case err != nil && ctx.Err() == nil:
			h.state.Set(stateFailing)
			h.log.Warn("connector not held: its lease can't be asked for", "error", err)
			pause.For(ctx, failed.Next())
		case taken:
			failed.Reset()
			h.hold(ctx, held)
			// With nothing to do for the connector, or a lease that was lost, it is left alone until the list of connectors is fresh again.
			h.state.Set(stateElsewhere)
			pause.For(ctx, pause.Spread(2*refreshEvery))
		default:
			h.state.Set(stateElsewhere)
			pause.For(ctx, pause.Spread(takeEvery))
		}
	}
}

// hold works under held until the work is done, ctx ends or the lease is lost, and then gives the lease back.
func (h *holder) hold(ctx context.Context, held lease.Held) {
	log := h.log.With("lease_epoch", held.Epoch)
	log.Info("connector held")
	h.metrics.leases.WithLabelValues(leaseTaken).Inc()
	if lost := h.keeper.Hold(ctx, held, func(ctx context.Context) { h.work(ctx, held.Lease) }); lost != nil {
		h.metrics.leases.WithLabelValues(leaseLost).Inc()
		log.Warn("connector not held any more: its lease is lost", "error", lost)
		return
	}
	h.metrics.leases.WithLabelValues(leaseReleased).Inc()
	log.Info("connector given back")
}

// work signs in and connects, as long as the connector wants that and ctx has not ended.
func (h *holder) work(ctx context.Context, l account.Lease) {
	again := pause.Backoff{Least: restart, Most: restartMost}
	for ctx.Err() == nil {
		began := time.Now()
		connector, err := h.find(ctx)
		switch {
		case err != nil:
		case connector.Status == account.Connected:
			err = h.connect(ctx, l, &connector)
		case connector.Status == account.SigningIn:
			err = h.login(ctx, l, &connector)
		default:
			return
		}
		if err == nil && ctx.Err() == nil {
			// A sign-in has ended: what the connector is now decides what comes next.
			continue
		}
		if ctx.Err() != nil || err != nil && h.settle(ctx, l, err) {
			return
		}
		if time.Since(began) > lastedLong {
			again.Reset()
		}
		next := again.Next()
		h.state.Set(stateFailing)
		h.log.Warn("client ended, it is started again", "error", describe(err), "after", next)
		pause.For(ctx, next)
	}
}

// unreached is called by gotd when a connection ends that nobody ended, or does not come about; gotd then makes another one, every few seconds.
func (h *holder) unreached(err error) {
	h.metrics.dead.Inc()
	log := h.log.Debug
	if h.state.Set(stateFailing) {
		log = h.log.Warn
	}
	log("no connection to Telegram, it is tried again", "error", describe(err))
}

func (h *holder) find(ctx context.Context) (account.Connector, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	return h.cfg.Connectors.Find(ctx, h.id)
}

// settle writes down why a client ended when starting it again is no use, and returns true then.
func (h *holder) settle(ctx context.Context, l account.Lease, err error) bool {
	status, reason := verdictOf(err)
	if status == account.Connected {
		return false
	}
	h.metrics.ended.WithLabelValues(string(status)).Inc()
	h.log.Error("connector not connected any more", "status", status, "reason", reason)
	again := pause.Backoff{Least: restart, Most: restartMost}
	for {
		err := h.setStatus(ctx, l, status, reason)
		if err == nil || fault.ClassOf(err) == fault.NotFound {
			return true
		}
		h.log.Warn("status not stored", "status", status, "error", err)
		if !pause.For(ctx, again.Next()) {
			return true
		}
	}
}

func (h *holder) setStatus(ctx context.Context, l account.Lease, status account.ConnectorStatus, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	return h.cfg.Connectors.SetStatus(ctx, l, h.id, status, reason)
}
