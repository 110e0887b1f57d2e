// Package polling receives the updates of bots that have no webhook, by asking Telegram for them (getUpdates, long polling). An
// update is confirmed to Telegram only after the sink has it durable, so whatever ends a poller, Telegram still holds
// what it did not bring in; the next one gets it again, and a repeat is harmless. Over any number of workers one poller at a time asks
// for a bot, under a lease. The package splits Telegram's answers into updates and keeps their exact bytes; of an
// update it reads nothing but its update_id. It neither sets nor removes webhooks.
package polling

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// refreshEvery is how long a new bot waits at most before it is polled.
	refreshEvery  = 3 * time.Second
	refreshWithin = 5 * time.Second
)

// Bots lists the bots of the fleet.
type Bots interface {
	List(ctx context.Context) ([]account.Bot, error)
}

// Tokens opens sealed tokens.
type Tokens interface {
	Open(purpose, sealed string) (seal.Secret, error)
}

// Config is what a Poller is made of. Every field must be set.
type Config struct {
	Bots   Bots
	Leases lease.Leases
	Tokens Tokens
	Sink   ingest.Sink
	// BotAPIURL is the Bot API server, without a slash at the end.
	BotAPIURL  string
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Beat ticks while the list of bots is kept fresh, every few seconds.
	Beat *obs.Beat
}

// Poller polls all bots of the fleet whose delivery is polling, as far as their leases are free.
type Poller struct {
	cfg     Config
	api     *botAPI
	owner   string
	metrics *metrics
}

// New returns a poller with a name of its own among all that ever share its leases.
func New(cfg Config) (*Poller, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name the poller: %w", err)
	}
	return &Poller{
		cfg: cfg, api: newBotAPI(cfg.BotAPIURL), owner: host + "-" + rand.Text(), metrics: newMetrics(cfg.Registerer),
	}, nil
}

// Run polls until ctx ends, and then returns nil once every poll has ended and every lease is given back. What Telegram had handed
// over and the sink had not yet taken stays with Telegram. Run must not run twice at a time.
func (p *Poller) Run(ctx context.Context) error {
	defer p.api.close()
	fleet := fleet{poller: p, running: map[string]*running{}}
	defer fleet.ending.Wait()
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	failing := false
	for {
		p.cfg.Beat.Tick()
		bots, err := p.list(ctx)
		if err == nil {
			fleet.adjust(ctx, bots)
		}
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			failing = failed
			p.logChange(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *Poller) list(ctx context.Context) ([]account.Bot, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	return p.cfg.Bots.List(ctx)
}

// logChange logs that refreshing began to fail, or works again, and not each time.
func (p *Poller) logChange(err error) {
	if err != nil {
		p.cfg.Log.Warn("bots to poll not refreshed, the last list is kept", "error", err)
		return
	}
	p.cfg.Log.Info("bots to poll refreshed again")
}

// fleet is the bots that are being polled; it belongs to the goroutine of Poller.Run.
type fleet struct {
	poller *Poller
	// running holds a bot until its goroutine has ended: two goroutines of one process must never share a lease.
	running map[string]*running
	ending  sync.WaitGroup
}

type running struct {
	bot    account.Bot
	cancel context.CancelFunc
	ended  chan struct{}
}

// adjust starts what is new in bots and stops what is not there any more, or has another token.
func (f *fleet) adjust(ctx context.Context, bots []account.Bot) {
	wanted := map[string]account.Bot{}
	for _, bot := range bots {
		if bot.Delivery == account.Polling {
			wanted[bot.ID] = bot
		}
	}
	for id, r := range f.running {
		if bot, stays := wanted[id]; !stays || bot.SealedToken != r.bot.SealedToken {
			r.cancel()
		}
		select {
		case <-r.ended:
			delete(f.running, id)
		default:
		}
	}
	for id, bot := range wanted {
		if f.running[id] == nil {
			f.running[id] = f.start(ctx, bot)
		}
	}
}

func (f *fleet) start(ctx context.Context, bot account.Bot) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{bot: bot, cancel: cancel, ended: make(chan struct{})}
	one := newOneBot(f.poller, bot)
	f.ending.Go(func() {
		defer close(r.ended)
		defer cancel()
		one.run(ctx)
	})
	return r
}
