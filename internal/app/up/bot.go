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

// addTokenBot makes the bot of TELEGRAM_BOT_TOKEN known, to be polled, unless it is known with that very token. It asks Telegram for the
// bot's name, so that a wrong token is told before anything starts.
func addTokenBot(ctx context.Context, p *process.Process, cfg config.Up, home home) error {
	if cfg.TelegramBotToken == "" {
		return nil
	}
	id, err := enrol.BotID(cfg.TelegramBotToken)
	if err != nil {
		return fmt.Errorf("TELEGRAM_BOT_TOKEN: %w", err)
	}
	ring, err := seal.ParseRing(home.secretKeys)
	if err != nil {
		return fmt.Errorf("SECRET_KEYS: %w", err)
	}
	ref := strconv.FormatInt(int64(id), 10)
	known, err := p.DB.Bots().Find(ctx, ref)
	if err != nil && fault.ClassOf(err) != fault.NotFound {
		return err
	}
	stored := err == nil
	if stored && opens(ring, known, cfg.TelegramBotToken) {
		p.Log.Info("bot known", "bot_id", int64(known.BotID), "username", known.Username, "delivery", string(known.Delivery))
		return nil
	}
	me, err := telegram.New(cfg.BotAPIURL).GetMe(ctx, cfg.TelegramBotToken)
	if err != nil {
		return fmt.Errorf("TELEGRAM_BOT_TOKEN: ask Telegram who the bot is: %w", err)
	}
	if stored {
		// Its token was changed at @BotFather, or the key that sealed it is lost.
		if _, err := p.DB.Bots().Remove(ctx, ref); err != nil {
			return err
		}
	}
	_, err = enrol.Bot(ctx, p.DB.Bots(), ring, enrol.Newcomer{
		Token: cfg.TelegramBotToken, Username: me.Username, Delivery: account.Polling,
	})
	return err
}

// opens reports whether ring opens the bot's stored token and finds token there.
func opens(ring *seal.Ring, bot account.Bot, token seal.Secret) bool {
	stored, err := ring.Open(seal.PurposeBotToken, bot.SealedToken)
	return err == nil && stored == token
}
