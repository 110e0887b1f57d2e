package polling

import (
	"context"
	"time"

	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// terms let a bot's holder stop 10 s before anybody else can have the bot.
var terms = lease.Terms{TTL: 30 * time.Second, RenewEvery: 10 * time.Second, StopAfter: 20 * time.Second}

// acquireEvery is how often a lease that another poller holds is asked for: how long a bot is left alone after a clean stop.
const acquireEvery = 4 * time.Second

// leaseName is what every worker calls the right to poll a bot.
func (b *oneBot) leaseName() string { return "poll:" + b.source.String() }

// hold polls under held until ctx ends or the lease is lost, and then gives the lease back.
func (b *oneBot) hold(ctx context.Context, held lease.Held, token seal.Secret) {
	log := b.log.With("lease_epoch", held.Epoch)
	log.Info("polling begins")
	if lost := b.keeper.Hold(ctx, held, func(ctx context.Context) { b.poll(ctx, token) }); lost != nil {
		log.Warn("polling ends: the lease is lost", "error", lost)
		return
	}
	log.Info("polling ends")
}
