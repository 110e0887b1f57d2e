// Package account holds the words for the Telegram accounts that the fleet receives updates for, and for the leases under
// which one process at a time works for an account. It does no I/O and uses the standard library only; its types hold
// secrets sealed or as hashes, never in the clear.
package account

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// BotID is Telegram's id of a bot: the number before the colon of its token.
type BotID int64

// Delivery is how a bot's updates reach the fleet.
type Delivery string

// The deliveries.
const (
	// Webhook bots have their updates posted to the api.
	Webhook Delivery = "webhook"
	// Polling bots are asked for updates by a worker.
	Polling Delivery = "polling"
)

// Bot is a bot that the fleet receives updates for.
type Bot struct {
	// ID is opaque and public: it stands in the webhook's path and is made of nothing that Telegram knows.
	ID       string
	BotID    BotID
	Username string
	Delivery Delivery
	// SecretHash is SHA-256 over the secret that Telegram sends with each webhook.
	SecretHash [32]byte
	// SealedToken is the bot's token, sealed (package seal).
	SealedToken string
	CreatedAt   time.Time
}

// Source returns the source of the bot's updates.
func (b *Bot) Source() ingest.Source {
	return ingest.Source{Transport: ingest.BotAPI, Account: int64(b.BotID)}
}

// Lease is the right to do one piece of work alone until it expires, on the database's clock.
type Lease struct {
	// Name is what is leased.
	Name string
	// Owner is the process that holds it.
	Owner string
	// Epoch grows with every change of owner; a write of an older epoch is refused.
	Epoch int64
	// ExpiresAt is on the database's clock: compare it with nothing of ours.
	ExpiresAt time.Time
}
