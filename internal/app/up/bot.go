package up

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/telegram"
)

// addTokenBot makes the bot of TELEGRAM_BOT_TOKEN known, to be polled, unless it is known already. It asks Telegram for the bot's name,
// so that a wrong token is told before anything starts.
func addTokenBot(ctx context.Context, p *process.Process, cfg config.Up, home home) error {
	if cfg.TelegramBotToken == "" {
		return nil
	}
	id, err := enrol.BotID(cfg.TelegramBotToken)
	if err != nil {
		return fmt.Errorf("TELEGRAM_BOT_TOKEN: %w", err)
	}
	known, err := p.DB.Bots().Find(ctx, strconv.FormatInt(int64(id), 10))
	switch {
	case err == nil:
		p.Log.Info("bot known", "bot_id", int64(known.BotID), "username", known.Username, "delivery", string(known.Delivery))
		return nil
	case fault.ClassOf(err) != fault.NotFound:
		return err
	}
	me, err := telegram.New(cfg.BotAPIURL).GetMe(ctx, cfg.TelegramBotToken)
	if err != nil {
		return fmt.Errorf("TELEGRAM_BOT_TOKEN: ask Telegram who the bot is: %w", err)
	}
	ring, err := seal.ParseRing(home.secretKeys)
	if err != nil {
		return fmt.Errorf("SECRET_KEYS: %w", err)
	}
	_, err = enrol.Bot(ctx, p.DB.Bots(), ring, enrol.Newcomer{
		Token: cfg.TelegramBotToken, Username: me.Username, Delivery: account.Polling,
	})
	return err
}
