// Package enrol makes bots known to the fleet: it gives a bot its opaque id and its webhook secret, seals its token, and stores
// it. The secret is shown once, to whoever enrols; only its hash is kept.
package enrol

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

// Bots stores bots.
type Bots interface {
	Add(ctx context.Context, bot account.Bot) error
}

// Newcomer is a bot to be enrolled.
type Newcomer struct {
	Token    seal.Secret
	Username string
	Delivery account.Delivery
}

// Enrolled is a bot that was made known, and what only its enrolling tells.
type Enrolled struct {
	account.Bot
	// Secret is what Telegram must send with each webhook.
	Secret seal.Secret
}

// WebhookPath returns the path at which the api takes the bot's updates.
func (e Enrolled) WebhookPath() string { return webhook.Prefix + e.ID }

var errToken = errors.New("a bot's token looks like 123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11; @BotFather gives it")

// BotID returns the id that token begins with. Its error does not show the token.
func BotID(token seal.Secret) (account.BotID, error) {
	id, ok := account.BotIDOfToken(token.Reveal())
	if !ok {
		return 0, errToken
	}
	return id, nil
}

// Secret makes a new webhook secret of 260 random bits, in characters that setWebhook takes, and its hash.
func Secret() (seal.Secret, [sha256.Size]byte) {
	secret := rand.Text() + rand.Text()
	return seal.Secret(secret), sha256.Sum256([]byte(secret))
}

// Bot makes n known to the fleet. It returns bots' error when the bot is there already.
func Bot(ctx context.Context, bots Bots, ring *seal.Ring, n Newcomer) (Enrolled, error) {
	id, err := BotID(n.Token)
	if err != nil {
		return Enrolled{}, err
	}
	sealed, err := ring.Seal(seal.PurposeBotToken, []byte(n.Token.Reveal()))
	if err != nil {
		return Enrolled{}, fmt.Errorf("seal the token of bot %d: %w", id, err)
	}
	secret, hash := Secret()
	e := Enrolled{Secret: secret, Bot: account.Bot{
		ID: strings.ToLower(rand.Text()), BotID: id, Username: n.Username, Delivery: n.Delivery,
		SecretHash: hash, SealedToken: sealed, CreatedAt: time.Now().UTC(),
	}}
	if err := bots.Add(ctx, e.Bot); err != nil {
		return Enrolled{}, err
	}
	return e, nil
}
