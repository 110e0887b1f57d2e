// Package config is the only reader of the environment. One table of settings says for each variable which commands read it,
// what it means, what is right and what holds when it is unset; parsing, errors, --help and docs/configuration.md all come from that
// table. A command learns all its mistakes at once, by the variable's name and with what would be right, before anything starts;
// the value of a secret is never shown. A variable that is set to the empty text counts as unset, and variables that the table does not
// name are nobody's business. Whether a server answers at an address is not checked here.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tgfleet/tgfleet/internal/seal"
)

// Command names one of the project's commands (or a group of them that read the same settings).
type Command string

// The commands.
const (
	ForAPI      Command = "api"
	ForWorker   Command = "worker-content"
	ForListener Command = "mtproto-listener"
	ForOperator Command = "tgfleet"
	ForUp       Command = "tgfleet up"
)

// Log says what is logged and how.
type Log struct {
	LogLevel slog.Level
	// LogFormat is "json" or "text".
	LogFormat string
}

// Queue says where the queue is and how wide.
type Queue struct {
	// RedisURL is `embedded` only for `tgfleet up`.
	RedisURL     seal.Secret
	IngestQueues int
}

// Webhook says where updates are received and from whom.
type Webhook struct {
	HTTPAddr string
	// WebhookAllowedNets is empty when every address may post.
	WebhookAllowedNets []netip.Prefix
	// TrustedProxies is empty when no proxy's word about an address counts.
	TrustedProxies []netip.Prefix
}

// API is the configuration of the api.
type API struct {
	Log
	Queue
	Webhook
	DatabaseURL  seal.Secret
	DrainTimeout time.Duration
}

// Worker is the configuration of worker-content.
type Worker struct {
	Log
	Queue
	DatabaseURL       seal.Secret
	MetricsAddr       string
	SecretKeys        seal.Secret
	BotAPIURL         string
	WorkerConcurrency int
	DrainTimeout      time.Duration
	// LedgerRetention is 0 when the ledger is kept for ever.
	LedgerRetention time.Duration
}

// Telegram says as which application accounts connect over MTProto, and where. APIID is 0 when none are to be connected.
type Telegram struct {
	APIID   int
	APIHash seal.Secret
	// DC, DCAddr and DCKey, the path of its public key, name a server that is not Telegram's; DCAddr is empty for Telegram's own.
	DC     int
	DCAddr string
	DCKey  string
}

// together refuses half of what belongs together.
func (t Telegram) together() error {
	if (t.APIID == 0) != (t.APIHash == "") {
		return errors.New("TELEGRAM_API_ID and TELEGRAM_API_HASH belong together: set both, or neither to connect no accounts")
	}
	if (t.DCAddr == "") != (t.DCKey == "") {
		return errors.New("TELEGRAM_DC and TELEGRAM_DC_KEY belong together: set both, or neither for Telegram itself")
	}
	return nil
}

// Listener is the configuration of mtproto-listener.
type Listener struct {
	Log
	Queue
	DatabaseURL  seal.Secret
	MetricsAddr  string
	SecretKeys   seal.Secret
	Telegram     Telegram
	DrainTimeout time.Duration
}

// Operator is the configuration of the tgfleet commands that use the database. SecretKeys and PublicURL may be empty: the commands that
// need them say so to LoadOperator. RedisURL is empty where there is none that another process can reach.
type Operator struct {
	Log
	Queue
	DatabaseURL seal.Secret
	SecretKeys  seal.Secret
	PublicURL   string
	BotAPIURL   string
}

// Up is the configuration of `tgfleet up`. Everything has a default; DatabaseURL, SecretKeys, TelegramBotToken and Telegram may be empty.
type Up struct {
	Log
	Queue
	Webhook
	DatabaseURL       seal.Secret
	SecretKeys        seal.Secret
	TelegramBotToken  seal.Secret
	Telegram          Telegram
	BotAPIURL         string
	WorkerConcurrency int
	DrainTimeout      time.Duration
	// LedgerRetention is 0 when the ledger is kept for ever.
	LedgerRetention time.Duration
}

// LoadAPI reads the settings of the api through lookup, which works like os.LookupEnv.
func LoadAPI(lookup func(string) (string, bool)) (API, error) {
	v, err := load(ForAPI, lookup)
	if err != nil {
		return API{}, err
	}
	return API{Log: v.Log, Queue: v.Queue, Webhook: v.Webhook, DatabaseURL: v.DatabaseURL, DrainTimeout: v.DrainTimeout}, nil
}

// LoadWorker reads the settings of worker-content through lookup, which works like os.LookupEnv.
func LoadWorker(lookup func(string) (string, bool)) (Worker, error) {
	v, err := load(ForWorker, lookup)
	if err != nil {
		return Worker{}, err
	}
	return Worker{
		Log: v.Log, Queue: v.Queue, DatabaseURL: v.DatabaseURL, MetricsAddr: v.MetricsAddr, SecretKeys: v.SecretKeys,
		BotAPIURL: v.BotAPIURL, WorkerConcurrency: v.WorkerConcurrency, DrainTimeout: v.DrainTimeout, LedgerRetention: v.LedgerRetention,
	}, nil
}

// LoadListener reads the settings of mtproto-listener through lookup, which works like os.LookupEnv.
func LoadListener(lookup func(string) (string, bool)) (Listener, error) {
	v, err := load(ForListener, lookup)
	if err == nil {
		err = v.Telegram.together()
	}
	if err != nil {
		return Listener{}, err
	}
	return Listener{
		Log: v.Log, Queue: v.Queue, DatabaseURL: v.DatabaseURL, MetricsAddr: v.MetricsAddr, SecretKeys: v.SecretKeys,
		Telegram: v.Telegram, DrainTimeout: v.DrainTimeout,
	}, nil
}

// LoadOperator reads the settings of a tgfleet command through lookup, which works like os.LookupEnv. Needs names the variables that this
// command can't do without, beside those that all of them need.
func LoadOperator(lookup func(string) (string, bool), needs ...string) (Operator, error) {
	v, err := load(ForOperator, lookup, needs...)
	if err != nil {
		return Operator{}, err
	}
	if v.RedisURL == embedded {
		v.RedisURL = ""
	}
	return Operator{
		Log: v.Log, Queue: v.Queue, DatabaseURL: v.DatabaseURL, SecretKeys: v.SecretKeys, PublicURL: v.PublicURL, BotAPIURL: v.BotAPIURL,
	}, nil
}

// LoadUp reads the settings of `tgfleet up` through lookup, which works like os.LookupEnv.
func LoadUp(lookup func(string) (string, bool)) (Up, error) {
	v, err := load(ForUp, lookup)
	if err == nil {
		err = v.Telegram.together()
	}
	if err != nil {
		return Up{}, err
	}
	return Up{
		Log: v.Log, Queue: v.Queue, Webhook: v.Webhook, DatabaseURL: v.DatabaseURL, SecretKeys: v.SecretKeys,
		TelegramBotToken: v.TelegramBotToken, Telegram: v.Telegram, BotAPIURL: v.BotAPIURL,
		WorkerConcurrency: v.WorkerConcurrency, DrainTimeout: v.DrainTimeout, LedgerRetention: v.LedgerRetention,
	}, nil
}

// Usage returns the settings that a command reads as a table, for --help.
func Usage(command Command) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VARIABLE\tDEFAULT\tMEANING")
	for _, s := range settings {
		if u, reads := s.readBy[command]; reads {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.name, u, s.about)
			fmt.Fprintf(w, "\t\tright: %s\n", s.wantFor(command))
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// load reads every setting of command and returns all mistakes at once, a line each, in the table's order.
func load(command Command, lookup func(string) (string, bool), needs ...string) (values, error) {
	var v values
	var mistakes []error
	for _, s := range settings {
		u, reads := s.readBy[command]
		if !reads {
			continue
		}
		text, _ := lookup(s.name)
		if text == "" {
			text = u.fallback
		}
		if text == "" {
			if u.required || slices.Contains(needs, s.name) {
				mistakes = append(mistakes, fmt.Errorf("%s is not set: want %s", s.name, s.wantFor(command)))
			}
			continue
		}
		if err := s.take(&v, command, text); err != nil {
			mistakes = append(mistakes, s.mistake(command, text, err))
		}
	}
	return v, errors.Join(mistakes...)
}

// hidden stands for a wrong value that may be a secret, or hold one.
const hidden = "is wrong (its value is not shown)"

func (s *setting) mistake(command Command, text string, err error) error {
	shown := fmt.Sprintf("is %q", text)
	switch {
	case s.secret:
		shown = hidden
	case strings.Contains(text, "@"):
		// No value that may be shown has an at sign: what stands before it is a password, in a URL that should have none.
		shown, err = hidden, errWrong
	}
	if errors.Is(err, errWrong) {
		return fmt.Errorf("%s %s: want %s", s.name, shown, s.wantFor(command))
	}
	return fmt.Errorf("%s %s: %w", s.name, shown, err)
}
