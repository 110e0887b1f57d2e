// Package listener wires the process that receives the updates of accounts over MTProto. Any number of listeners may run side by side; they
// share the accounts.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/source/mtproto"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

// loopBound is how long a short loop of the process may be silent.
const loopBound = 30 * time.Second

// Run runs a listener until ctx ends, and then gives back the accounts that it holds.
func Run(ctx context.Context, cfg config.Listener, log *slog.Logger) error {
	telegram, err := TelegramOf(cfg.Telegram)
	if err != nil {
		return err
	}
	p, err := process.OpenCurrent(ctx, process.Config{
		DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL, IngestQueues: cfg.IngestQueues,
	}, log)
	if err != nil {
		return err
	}
	p.Health.Ready("database", p.DB.Ping)
	sink := p.NewSink()
	accounts, err := Accounts(p, sink, cfg.SecretKeys, telegram)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	metrics, err := p.Metrics(ctx, cfg.MetricsAddr)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	return lifecycle.Run(ctx, log, cfg.DrainTimeout, slices.Concat(
		p.Services(),
		[]lifecycle.Service{metrics, {Name: "accept", Run: sink.Run}, accounts},
	)...)
}

// TelegramOf returns where cfg says that Telegram is.
func TelegramOf(cfg config.Telegram) (mtproto.Telegram, error) {
	telegram := mtproto.Telegram{AppID: cfg.APIID, AppHash: cfg.APIHash}
	if cfg.DCAddr == "" {
		return telegram, nil
	}
	keys, err := os.ReadFile(cfg.DCKey)
	if err != nil {
		return mtproto.Telegram{}, fmt.Errorf("TELEGRAM_DC_KEY: %w", err)
	}
	telegram.Server = &mtproto.Server{DC: cfg.DC, Addr: cfg.DCAddr, PublicKeys: keys}
	return telegram, nil
}

// Accounts returns the service that receives the updates of the process's share of the connectors and puts them into sink.
func Accounts(p *process.Process, sink ingest.Sink, keys seal.Secret, telegram mtproto.Telegram) (lifecycle.Service, error) {
	ring, err := seal.ParseRing(keys)
	if err != nil {
		return lifecycle.Service{}, fmt.Errorf("SECRET_KEYS: %w", err)
	}
	accounts, err := mtproto.New(mtproto.Config{
		Connectors: p.DB.Connectors(), Sessions: p.DB.Sessions(), SignIns: p.DB.SignIns(), States: p.DB.UpdateStates(), Hashes: p.DB.AccessHashes(),
		Backfills: p.DB.Backfills(), FloodWaits: p.DB.FloodWaits(), Leases: p.DB.Leases(), Queue: p.Queue, Sealer: ring, Sink: sink,
		Pages: tasks.BackfillQueue{Client: p.Queue}, Telegram: telegram,
		Log: p.Log, Registerer: p.Registry, Beat: p.Health.Loop("accounts", loopBound),
	})
	if err != nil {
		return lifecycle.Service{}, err
	}
	return lifecycle.Service{Name: "accounts", Run: accounts.Run}, nil
}
