package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
	"github.com/tgfleet/tgfleet/internal/telegram"
)

// demoBots are the bots of the simulated Telegram. No real token has such a second half.
var demoBots = []struct{ token, username string }{
	{"7000000001:SIMULATED-harbour", "harbour_news_bot"},
	{"7000000002:SIMULATED-market", "market_desk_bot"},
	{"7000000003:SIMULATED-club", "rowing_club_bot"},
}

// troubles are those that every webhook meets in real life: answers get lost, and updates come again.
var troubles = simulator.Faults{LostAnswers: 0.01, Duplicates: 0.02, Order: simulator.AcrossQueues}

// simulate enrols the demo's bots and returns the services of a Telegram inside the process, whose traffic comes in through
// the fleet's real webhook.
func simulate(ctx context.Context, p *process.Process, cfg config.Up, opts Options, home home) ([]lifecycle.Service, error) {
	server := simulator.New(simulator.Config{Seed: uint64(time.Now().UnixNano()), Log: p.Log})
	server.SetFaults(troubles)
	for _, bot := range demoBots {
		if _, err := server.AddBot(bot.token, bot.username); err != nil {
			return nil, err
		}
	}
	listener, err := lifecycle.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	front, err := loopback(cfg.HTTPAddr)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	ring, err := seal.ParseRing(home.secretKeys)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("SECRET_KEYS: %w", err), listener.Close())
	}
	hooks := demoHooks{
		p: p, ring: ring, front: front, api: telegram.New("http://" + listener.Addr().String()),
	}
	traffic := simulator.TrafficConfig{Rate: opts.Rate - demoRate(opts.Rate), Burst: 10}
	return []lifecycle.Service{
		lifecycle.HTTP("simulated telegram", listener, server, p.Log),
		{Name: "simulated webhooks", Run: server.Run},
		{Name: "simulated people", Run: func(ctx context.Context) error {
			if err := hooks.set(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			return server.Traffic(ctx, traffic)
		}},
	}, nil
}

// demoHooks sets the webhooks of the demo's bots, as an operator would for real ones.
type demoHooks struct {
	p     *process.Process
	ring  *seal.Ring
	front string
	api   *telegram.Client
}

func (h demoHooks) set(ctx context.Context) error {
	for _, bot := range demoBots {
		enrolled, err := h.enrol(ctx, bot.token, bot.username)
		if err != nil {
			return err
		}
		err = h.api.SetWebhook(ctx, seal.Secret(bot.token), telegram.Webhook{
			URL: h.front + webhook.Prefix + enrolled.ID, Secret: enrolled.Secret,
		})
		if err != nil {
			return fmt.Errorf("set the webhook of a simulated bot: %w", err)
		}
	}
	return nil
}

// enrol makes a demo bot known anew: its secret of an earlier run is nowhere to be read.
func (h demoHooks) enrol(ctx context.Context, token, username string) (enrol.Enrolled, error) {
	id, err := enrol.BotID(seal.Secret(token))
	if err != nil {
		return enrol.Enrolled{}, err
	}
	if _, err := h.p.DB.Bots().Remove(ctx, strconv.FormatInt(int64(id), 10)); err != nil && fault.ClassOf(err) != fault.NotFound {
		return enrol.Enrolled{}, err
	}
	return enrol.Bot(ctx, h.p.DB.Bots(), h.ring, enrol.Newcomer{
		Token: seal.Secret(token), Username: username, Delivery: account.Webhook,
	})
}

// loopback returns the URL at which a process on this machine reaches addr.
func loopback(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
