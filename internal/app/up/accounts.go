package up

import (
	"github.com/tgfleet/tgfleet/internal/app/listener"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// accounts returns the service that listens to accounts, or none when nothing says as which application.
func accounts(p *process.Process, sink ingest.Sink, keys seal.Secret, cfg config.Telegram) ([]lifecycle.Service, error) {
	if cfg.APIID == 0 {
		p.Log.Info("no accounts are connected: TELEGRAM_API_ID and TELEGRAM_API_HASH are not set")
		return nil, nil
	}
	telegram, err := listener.TelegramOf(cfg)
	if err != nil {
		return nil, err
	}
	service, err := listener.Accounts(p, sink, keys, telegram)
	return []lifecycle.Service{service}, err
}
