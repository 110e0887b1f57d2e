package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Bots are the bots that the fleet receives updates for. Any number of goroutines and processes may use it.
type Bots struct {
	db *DB
}

// Bots returns the repository of the bots.
func (db *DB) Bots() *Bots { return &Bots{db: db} }

// Add writes bot down. A bot whose BotID is there already is a fault.Permanent error that names the one that is there.
func (b *Bots) Add(ctx context.Context, bot account.Bot) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		row := botRow{
			ID: bot.ID, BotID: bot.BotID, Username: bot.Username, Delivery: bot.Delivery,
			SecretHash: bot.SecretHash[:], SealedToken: bot.SealedToken, CreatedAt: instant{bot.CreatedAt},
		}
		added := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "bot_id"}}, DoNothing: true}).Create(&row)
		if added.Error != nil || added.RowsAffected == 1 {
			return added.Error
		}
		var there botRow
		if err := tx.Select("id").Where("bot_id = ?", bot.BotID).Take(&there).Error; err != nil {
			return err
		}
		return fault.As(fault.Permanent, fmt.Errorf("it is there already, with id %s", there.ID))
	})
	if err != nil {
		return fmt.Errorf("add bot %d: %w", bot.BotID, err)
	}
	return nil
}

// List returns all bots in the order of Telegram's ids.
func (b *Bots) List(ctx context.Context) ([]account.Bot, error) {
	bots, err := findBots(b.db.read(ctx).Order("bot_id"))
	if err != nil {
		return nil, fmt.Errorf("list bots: %w", classify(err))
	}
	return bots, nil
}

// Find returns the bot that ref names: by its opaque id, by Telegram's id, or by its username in any case, with or without the
// at sign. No such bot is a fault.NotFound error; a username that two bots have had is a fault.Permanent one.
func (b *Bots) Find(ctx context.Context, ref string) (account.Bot, error) {
	bot, err := findBot(b.db.read(ctx), ref)
	if err != nil {
		return account.Bot{}, fmt.Errorf("find bot: %w", classify(err))
	}
	return bot, nil
}

// Remove forgets the bot that ref names, as Find understands it, and returns it. What it received stays.
func (b *Bots) Remove(ctx context.Context, ref string) (bot account.Bot, err error) {
	err = b.db.write(ctx, func(tx *gorm.DB) error {
		bot, err = findBot(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}), ref)
		if err != nil {
			return err
		}
		return tx.Where("id = ?", bot.ID).Delete(&botRow{}).Error
	})
	if err != nil {
		return account.Bot{}, fmt.Errorf("remove bot: %w", err)
	}
	return bot, nil
}

// ServeWebhook writes down that the bot of that opaque id has its updates posted from now on, with the secret that hash stands for.
// No such bot is a fault.NotFound error.
func (b *Bots) ServeWebhook(ctx context.Context, id string, hash [sha256.Size]byte) error {
	err := b.db.write(ctx, func(tx *gorm.DB) error {
		changed := tx.Model(&botRow{}).Where("id = ?", id).
			Select("delivery", "secret_hash").Updates(botRow{Delivery: account.Webhook, SecretHash: hash[:]})
		if changed.Error == nil && changed.RowsAffected == 0 {
			return fault.As(fault.NotFound, errors.New("it is not there"))
		}
		return changed.Error
	})
	if err != nil {
		return fmt.Errorf("serve webhook of bot %s: %w", id, err)
	}
	return nil
}

func findBot(tx *gorm.DB, ref string) (account.Bot, error) {
	if strings.Contains(ref, ":") {
		// It may be a token, which belongs into no error.
		return account.Bot{}, fault.As(fault.NotFound, errors.New("a bot is called by its id or username, and neither has a colon"))
	}
	username, isUsername := strings.CutPrefix(ref, "@")
	query := tx.Where("username <> '' AND lower(username) = ?", strings.ToLower(username))
	if !isUsername {
		query = query.Or("id = ?", ref)
		if id, err := strconv.ParseInt(ref, 10, 64); err == nil {
			query = query.Or("bot_id = ?", id)
		}
	}
	bots, err := findBots(query.Order("bot_id"))
	switch {
	case err != nil:
		return account.Bot{}, err
	case len(bots) == 0:
		return account.Bot{}, fault.As(fault.NotFound, fmt.Errorf("no bot is called %q", ref))
	case len(bots) > 1:
		return account.Bot{}, fault.As(fault.Permanent,
			fmt.Errorf("%q names %d bots, for example %s and %s: use the id", ref, len(bots), bots[0].ID, bots[1].ID))
	}
	return bots[0], nil
}

// botRow is a row of bots.
type botRow struct {
	ID          string
	BotID       account.BotID
	Username    string
	Delivery    account.Delivery
	SecretHash  []byte
	SealedToken string
	CreatedAt   instant
}

// TableName is for GORM.
func (botRow) TableName() string { return "bots" }

func findBots(query *gorm.DB) ([]account.Bot, error) {
	var rows []botRow
	err := query.Select("id", "bot_id", "username", "delivery", "secret_hash", "sealed_token", "created_at").Find(&rows).Error
	if err != nil {
		return nil, err
	}
	bots := make([]account.Bot, len(rows))
	for i := range rows {
		bots[i] = rows[i].bot()
	}
	return bots, nil
}

func (r *botRow) bot() account.Bot {
	bot := account.Bot{
		ID: r.ID, BotID: r.BotID, Username: r.Username, Delivery: r.Delivery,
		SealedToken: r.SealedToken, CreatedAt: r.CreatedAt.Time,
	}
	copy(bot.SecretHash[:], r.SecretHash)
	return bot
}
