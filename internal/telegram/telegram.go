// Package telegram calls the Bot API on behalf of the fleet's bots: who a bot is, and where its updates are posted. Its errors say
// what may be done about them and show neither a token nor a secret nor a URL that holds one. It receives no updates (package
// source does), keeps nothing, and tries nothing twice.
package telegram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/go-telegram/bot"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// getMe is the one method here that has no parameters.
	getMe = "getMe"
	// callWithin bounds one call; setWebhook looks at the URL before it answers.
	callWithin = 30 * time.Second
	// answerMaxBytes is far above what any method here answers.
	answerMaxBytes = 1 << 20
)

// Client calls a Bot API server. Any number of goroutines may use it, for any number of bots.
//
// Every error of its methods is classified: fault.Unauthorized for a token that is wrong or was revoked, fault.Throttled with the
// wait that Telegram asks for, fault.Transient for trouble of the network or the server, and fault.Permanent for what
// Telegram refuses.
type Client struct {
	url  string
	http *http.Client
}

// New returns a client of the Bot API server at baseURL, which has no slash at its end. It makes no connection.
func New(baseURL string) *Client {
	return &Client{url: baseURL, http: &http.Client{
		// Calls are rare: a connection that waits for the next one would only be in the way.
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Identity is who a bot is.
type Identity struct {
	BotID account.BotID
	// Username stands without the at sign.
	Username string
}

// GetMe returns the bot that token belongs to.
func (c *Client) GetMe(ctx context.Context, token seal.Secret) (Identity, error) {
	var who Identity
	err := c.call(ctx, getMe, secrets{token}, func(ctx context.Context, b *bot.Bot) error {
		me, err := b.GetMe(ctx)
		if err == nil {
			who = Identity{BotID: account.BotID(me.ID), Username: me.Username}
		}
		return err
	})
	return who, err
}

// Webhook is where and how Telegram posts a bot's updates.
type Webhook struct {
	URL string
	// Secret comes back with every post: 1 to 256 of A-Z, a-z, 0-9, _ and -.
	Secret seal.Secret
}

// SetWebhook makes Telegram post the bot's updates, of every kind, to hook, and ends polling. Setting the same webhook again changes
// nothing; Telegram allows one call a second. Updates that wait are kept.
func (c *Client) SetWebhook(ctx context.Context, token seal.Secret, hook Webhook) error {
	kinds := make([]string, len(ingest.Kinds))
	for i, kind := range ingest.Kinds {
		kinds[i] = string(kind)
	}
	return c.call(ctx, "setWebhook", secrets{token, hook.Secret}, func(ctx context.Context, b *bot.Bot) error {
		done, err := b.SetWebhook(ctx, &bot.SetWebhookParams{
			URL: hook.URL, SecretToken: hook.Secret.Reveal(), AllowedUpdates: kinds,
		})
		return accepted(done, err)
	})
}

// DeleteWebhook makes Telegram post the bot's updates no longer. Updates that wait are kept. Without a webhook it changes nothing.
func (c *Client) DeleteWebhook(ctx context.Context, token seal.Secret) error {
	return c.call(ctx, "deleteWebhook", secrets{token}, func(ctx context.Context, b *bot.Bot) error {
		done, err := b.DeleteWebhook(ctx, &bot.DeleteWebhookParams{})
		return accepted(done, err)
	})
}

func accepted(done bool, err error) error {
	if err == nil && !done {
		return errors.New("the answer is false")
	}
	return err
}

// secrets are what no error may show; the first one is the token.
type secrets []seal.Secret

// call calls one method with a bot of its own, whose way to the network is watched for what the library does not tell.
func (c *Client) call(
	ctx context.Context, method string, hidden secrets, do func(ctx context.Context, b *bot.Bot) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	network := &watched{http: c.http}
	b, err := bot.New(hidden[0].Reveal(),
		bot.WithServerURL(c.url), bot.WithSkipGetMe(), bot.WithHTTPClient(callWithin, network),
		// What the library reports here, apart from the call's own error, is that closing a pipe or a body went wrong.
		bot.WithErrorsHandler(func(error) {}),
	)
	if err == nil {
		err = do(ctx, b)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", method, hidden.classify(err, network.status))
}

// watched remembers the status of the answer, 0 while there is none, and bounds the answer.
type watched struct {
	http   *http.Client
	status int
}

// Do is that of bot.HttpClient.
func (w *watched) Do(req *http.Request) (*http.Response, error) {
	if path.Base(req.URL.Path) == getMe {
		// The library announces a form and sends nothing; a form has at least one part (RFC 2046, section 5.1.1), and a
		// server may insist on it.
		req.Body = http.NoBody
		req.Header.Del("Content-Type")
	}
	resp, err := w.http.Do(req) //nolint:gosec // the server is the operator's choice (BOT_API_URL)
	if err != nil {
		return nil, err
	}
	w.status = resp.StatusCode
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, answerMaxBytes), resp.Body}
	return resp, nil
}

func (hidden secrets) classify(err error, status int) error {
	var tooMany *bot.TooManyRequestsError
	var noJSON *json.SyntaxError
	var inURL *url.Error
	switch {
	case errors.As(err, &tooMany):
		return fault.Throttle(time.Duration(tooMany.RetryAfter)*time.Second, hidden.cover(err))
	case errors.Is(err, bot.ErrorUnauthorized):
		return fault.As(fault.Unauthorized, errors.New("the token is wrong or was revoked"))
	case errors.As(err, &noJSON):
		// The library's error holds the whole answer.
		return fault.As(fault.Transient, fmt.Errorf("status %d and no answer of a Bot API server", status))
	case errors.As(err, &inURL):
		return fault.As(fault.Transient, hidden.cover(inURL.Err))
	case status == 0 || status >= http.StatusInternalServerError:
		return fault.As(fault.Transient, hidden.cover(err))
	default:
		return fault.As(fault.Permanent, hidden.cover(err))
	}
}

// cover returns err, or another error in its place when its text shows a secret.
func (hidden secrets) cover(err error) error {
	for _, secret := range hidden {
		// Of a token the part after the number is the secret.
		text := secret.Reveal()
		if _, after, isToken := strings.Cut(text, ":"); isToken {
			text = after
		}
		if text != "" && strings.Contains(err.Error(), text) {
			return errors.New("an error whose text shows a secret")
		}
	}
	return err
}
