package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
	"github.com/tgfleet/tgfleet/internal/telegram"
)

// maxTokenSizeBytes bounds what is read for a token from standard input.
const maxTokenSizeBytes = 1 << 10

func botCommand(env Env) *cobra.Command {
	return group("bot", "Add, list and remove the bots that the fleet receives updates for",
		botAdd(env), botList(env), botSetWebhook(env), botRemove(env))
}

// botLine is one bot as the commands print it.
type botLine struct {
	ID          string        `json:"id"`
	BotID       account.BotID `json:"bot_id"`
	Username    string        `json:"username"`
	Delivery    string        `json:"delivery"`
	WebhookPath string        `json:"webhook_path"`
	CreatedAt   *time.Time    `json:"created_at,omitempty"`
	// Secret is what Telegram must send with each webhook; it is told once, when it is made.
	Secret string `json:"secret,omitempty"`
}

func botLineOf(bot *account.Bot) botLine {
	return botLine{
		ID: bot.ID, BotID: bot.BotID, Username: bot.Username, Delivery: string(bot.Delivery),
		WebhookPath: webhook.Prefix + bot.ID, CreatedAt: &bot.CreatedAt,
	}
}

func botAdd(env Env) *cobra.Command {
	var flags struct {
		token      string
		username   string
		polling    bool
		noTelegram bool
	}
	cmd := addJSON(&cobra.Command{
		Use:   "add --token TOKEN",
		Short: "Make a bot known to the fleet",
		Long: `Makes a bot known: seals its token, gives it an opaque id and a webhook secret, and prints both. The secret is shown only now.

With PUBLIC_URL set it also tells Telegram to post the bot's updates there; without it, say --polling to have a worker ask for
them, or set the webhook later with "tgfleet bot set-webhook". --no-telegram calls nobody.` + settings(),
		Example: `  tgfleet bot add --token - < token.txt
  tgfleet bot add --token 123456:ABC... --polling
  tgfleet bot add --token 123456:ABC... --no-telegram --json`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().StringVar(&flags.token, "token", "", "the bot's token; - reads it from standard input, where no list of processes shows it")
	cmd.Flags().StringVar(&flags.username, "username", "", "the bot's username, where Telegram is not asked")
	cmd.Flags().BoolVar(&flags.polling, "polling", false, "have a worker poll the bot (getUpdates)")
	cmd.Flags().BoolVar(&flags.noTelegram, "no-telegram", false, "do not call Telegram")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		token, err := readToken(cmd.InOrStdin(), flags.token)
		if err != nil {
			return err
		}
		if flags.username != "" && !flags.noTelegram {
			return errors.New("--username is for --no-telegram: otherwise Telegram tells the bot's name")
		}
		n := enrol.Newcomer{Token: token, Username: strings.TrimPrefix(flags.username, "@"), Delivery: account.Webhook}
		if flags.polling {
			n.Delivery = account.Polling
		}
		return withDatabase(env, cmd, []string{"SECRET_KEYS"}, func(ctx context.Context, s *session) error {
			return s.addBot(ctx, n, flags.noTelegram)
		})
	}
	return cmd
}

// readToken returns the token that the flag names, from in when the flag is "-".
func readToken(in io.Reader, flag string) (seal.Secret, error) {
	switch flag {
	case "":
		return "", errors.New("--token is missing: give the token that @BotFather gave, or - to read it from standard input")
	case "-":
		text, err := io.ReadAll(io.LimitReader(in, maxTokenSizeBytes))
		if err != nil {
			return "", fmt.Errorf("read the token from standard input: %w", err)
		}
		flag = strings.TrimSpace(string(text))
	}
	token := seal.Secret(flag)
	if _, err := enrol.BotID(token); err != nil {
		return "", fmt.Errorf("--token: %w", err)
	}
	return token, nil
}

func (s *session) addBot(ctx context.Context, n enrol.Newcomer, silent bool) error {
	ring, err := seal.ParseRing(s.cfg.SecretKeys)
	if err != nil {
		return fmt.Errorf("SECRET_KEYS: %w", err)
	}
	client := telegram.New(s.cfg.BotAPIURL)
	if !silent {
		me, err := client.GetMe(ctx, n.Token)
		if err != nil {
			return fmt.Errorf("ask Telegram who the bot is (--no-telegram does without): %w", err)
		}
		n.Username = me.Username
	}
	bot, err := enrol.Bot(ctx, s.db.Bots(), ring, n)
	if err != nil {
		return err
	}
	// The secret is printed before Telegram is asked for more: it can't be told again.
	line := botLineOf(&bot.Bot)
	line.CreatedAt, line.Secret = nil, bot.Secret.Reveal()
	if err := s.print(line, func(w io.Writer) { printBot(w, &line) }); err != nil {
		return err
	}
	if silent {
		return nil
	}
	return s.arrange(ctx, client, n, bot)
}

// arrange tells Telegram how the new bot's updates reach us.
func (s *session) arrange(ctx context.Context, client *telegram.Client, n enrol.Newcomer, bot enrol.Enrolled) error {
	switch {
	case n.Delivery == account.Polling:
		if err := client.DeleteWebhook(ctx, n.Token); err != nil {
			return fmt.Errorf("the bot is added, but a webhook that it may have is not removed: %w", err)
		}
	case s.cfg.PublicURL == "":
		fmt.Fprintln(s.cmd.ErrOrStderr(),
			"PUBLIC_URL is not set, so Telegram was not told where to post: set it and run `tgfleet bot set-webhook "+bot.ID+"`.")
	default:
		err := client.SetWebhook(ctx, n.Token, telegram.Webhook{URL: s.cfg.PublicURL + bot.WebhookPath(), Secret: bot.Secret})
		if err != nil {
			return fmt.Errorf("the bot is added, but its webhook is not set; run `tgfleet bot set-webhook %s`: %w", bot.ID, err)
		}
	}
	return nil
}

func printBot(w io.Writer, l *botLine) {
	row(w, "id", l.ID)
	row(w, "bot_id", l.BotID)
	row(w, "username", l.Username)
	row(w, "delivery", l.Delivery)
	row(w, "webhook_path", l.WebhookPath)
	if l.Secret != "" {
		row(w, "secret", l.Secret+"   (shown only now)")
	}
}

func botList(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:     "list",
		Short:   "List the bots",
		Long:    "Lists the bots in the order of Telegram's ids." + settings(),
		Example: "  tgfleet bot list\n  tgfleet bot list --json | jq -r '.[].webhook_path'",
		Args:    cobra.NoArgs,
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			bots, err := s.db.Bots().List(ctx)
			if err != nil {
				return err
			}
			lines := make([]botLine, len(bots))
			for i := range bots {
				lines[i] = botLineOf(&bots[i])
			}
			return s.print(lines, func(w io.Writer) {
				if len(lines) == 0 {
					row(w, "No bots yet: tgfleet bot add --token TOKEN")
					return
				}
				row(w, "ID", "BOT ID", "USERNAME", "DELIVERY", "ADDED")
				for _, l := range lines {
					row(w, l.ID, l.BotID, l.Username, l.Delivery, l.CreatedAt.Format(time.DateTime))
				}
			})
		})
	}
	return cmd
}

func botSetWebhook(env Env) *cobra.Command {
	cmd := addJSON(&cobra.Command{
		Use:   "set-webhook BOT",
		Short: "Tell Telegram to post a bot's updates to PUBLIC_URL",
		Long: `Makes a new webhook secret and tells Telegram to post the bot's updates, of every kind, to PUBLIC_URL with it. BOT is its id, its
Telegram id or its @username. A bot that was polled is posted from then on.` + settings(),
		Example: "  PUBLIC_URL=https://tg.example.org tgfleet bot set-webhook @harbour_news_bot",
		Args:    cobra.ExactArgs(1),
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withDatabase(env, cmd, []string{"SECRET_KEYS", "PUBLIC_URL"}, func(ctx context.Context, s *session) error {
			return s.setWebhook(ctx, args[0])
		})
	}
	return cmd
}

func (s *session) setWebhook(ctx context.Context, ref string) error {
	bot, token, err := s.botAndToken(ctx, ref)
	if err != nil {
		return err
	}
	secret, hash := enrol.Secret()
	url := s.cfg.PublicURL + webhook.Prefix + bot.ID
	// Telegram first: what it posts before the new hash is stored is refused and comes again, while a hash that Telegram never
	// heard of would refuse everything.
	if err := telegram.New(s.cfg.BotAPIURL).SetWebhook(ctx, token, telegram.Webhook{URL: url, Secret: secret}); err != nil {
		return fmt.Errorf("set the webhook of bot %s: %w", bot.ID, err)
	}
	if err := s.db.Bots().ServeWebhook(ctx, bot.ID, hash); err != nil {
		return fmt.Errorf("telegram has the new webhook, but its secret is not stored; run this again: %w", err)
	}
	return s.print(map[string]string{"id": bot.ID, "url": url}, func(w io.Writer) { row(w, "Telegram posts to", url) })
}

// botAndToken returns the bot that ref names and its opened token.
func (s *session) botAndToken(ctx context.Context, ref string) (account.Bot, seal.Secret, error) {
	ring, err := seal.ParseRing(s.cfg.SecretKeys)
	if err != nil {
		return account.Bot{}, "", fmt.Errorf("SECRET_KEYS: %w", err)
	}
	bot, err := s.db.Bots().Find(ctx, ref)
	if err != nil {
		return account.Bot{}, "", err
	}
	token, err := ring.Open(seal.PurposeBotToken, bot.SealedToken)
	if err != nil {
		return account.Bot{}, "", fmt.Errorf("open the token of bot %s: %w", bot.ID, err)
	}
	return bot, token, nil
}

func botRemove(env Env) *cobra.Command {
	var noTelegram bool
	cmd := addJSON(&cobra.Command{
		Use:   "remove BOT",
		Short: "Forget a bot; what it received stays",
		Long: `Tells Telegram to post no more, and forgets the bot. BOT is its id, its Telegram id or its @username. --no-telegram only forgets it;
Telegram's posts are answered with 404 then.` + settings(),
		Example: "  tgfleet bot remove @harbour_news_bot\n  tgfleet bot remove 7000000001 --no-telegram",
		Args:    cobra.ExactArgs(1),
	})
	cmd.Flags().BoolVar(&noTelegram, "no-telegram", false, "do not call Telegram")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var needs []string
		if !noTelegram {
			needs = []string{"SECRET_KEYS"}
		}
		return withDatabase(env, cmd, needs, func(ctx context.Context, s *session) error {
			return s.removeBot(ctx, args[0], noTelegram)
		})
	}
	return cmd
}

func (s *session) removeBot(ctx context.Context, ref string, silent bool) error {
	if !silent {
		bot, token, err := s.botAndToken(ctx, ref)
		if err != nil {
			return err
		}
		if err := telegram.New(s.cfg.BotAPIURL).DeleteWebhook(ctx, token); err != nil {
			return fmt.Errorf("delete the webhook of bot %s (--no-telegram does without): %w", bot.ID, err)
		}
	}
	bot, err := s.db.Bots().Remove(ctx, ref)
	if err != nil {
		return err
	}
	return s.print(map[string]string{"removed": bot.ID}, func(w io.Writer) { row(w, "Removed", bot.ID) })
}
