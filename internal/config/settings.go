package config

import (
	"math"
	"time"

	"github.com/tgfleet/tgfleet/internal/seal"
)

// values has room for every setting; a command's own struct is cut from it.
type values struct {
	Log
	Queue
	Webhook
	DatabaseURL       seal.Secret
	MetricsAddr       string
	SecretKeys        seal.Secret
	TelegramBotToken  seal.Secret
	Telegram          Telegram
	PublicURL         string
	BotAPIURL         string
	WorkerConcurrency int
	DrainTimeout      time.Duration
	LedgerRetention   time.Duration
}

// setting is one row of the table.
type setting struct {
	name  string
	about string
	// want says what is right.
	want string
	// wantMore says what is right beside want, for single commands.
	wantMore map[Command]string
	secret   bool
	readBy   map[Command]use
	take     func(v *values, command Command, text string) error
}

func (s *setting) wantFor(command Command) string { return s.want + s.wantMore[command] }

// use is what a setting is to one command. The zero use says that the setting may stay unset.
type use struct {
	required bool
	fallback string
}

// String returns what stands in the column of defaults.
func (u use) String() string {
	switch {
	case u.required:
		return "(required)"
	case u.fallback == "":
		return "(none)"
	default:
		return u.fallback
	}
}

var (
	required = use{required: true}
	optional = use{}
)

func otherwise(text string) use { return use{fallback: text} }

// settings is the table. Its order is that of errors, --help and the document.
var settings = []*setting{
	{
		name:  "DATABASE_URL",
		about: "The database: PostgreSQL for a fleet, a SQLite file for one machine. `tgfleet up` makes a file when it is unset.",
		want:  "postgres://USER:PASSWORD@HOST:PORT/NAME, postgresql://... or sqlite:PATH", secret: true,
		readBy: map[Command]use{ForAPI: required, ForWorker: required, ForListener: required, ForOperator: required, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return databaseURL(&v.DatabaseURL, text) },
	},
	{
		name: "REDIS_URL",
		about: "The Redis that holds the queues; for a group the sentinels (then with the option `master=NAME`) or the nodes, with commas " +
			"between. Options after ?: `tls=true` for a group with TLS; `ca_file=PATH` with TLS for an authority of your own, `cert_file=PATH` " +
			"and `key_file=PATH` where Redis wants to know its clients; `replicas=N` for a group, how many replicas must have an update " +
			"before it is accepted (1).",
		want:     "redis://USER:PASSWORD@HOST:PORT/DB, rediss://..., redis-sentinel://... or redis-cluster://...",
		wantMore: map[Command]string{ForUp: ", or `embedded` for one within the process"}, secret: true,
		readBy: map[Command]use{ForAPI: required, ForWorker: required, ForListener: required, ForOperator: optional, ForUp: otherwise(embedded)},
		take:   func(v *values, c Command, text string) error { return redisURL(&v.RedisURL, c, text) },
	},
	{
		name:   "HTTP_ADDR",
		about:  "Where webhooks, /metrics, /health and /ready are served.",
		want:   wantAddr,
		readBy: map[Command]use{ForAPI: otherwise(":3002"), ForUp: otherwise(":3002")},
		take:   func(v *values, _ Command, text string) error { return address(&v.HTTPAddr, text) },
	},
	{
		name:   "METRICS_ADDR",
		about:  "Where /metrics, /health and /ready are served.",
		want:   wantAddr,
		readBy: map[Command]use{ForWorker: otherwise(":9102"), ForListener: otherwise(":9103")},
		take:   func(v *values, _ Command, text string) error { return address(&v.MetricsAddr, text) },
	},
	{
		name:   "PUBLIC_URL",
		about:  "Where Telegram reaches the api from outside: what webhooks are registered under.",
		want:   wantURL + ", for example https://bots.example.org",
		readBy: map[Command]use{ForOperator: optional},
		take:   func(v *values, _ Command, text string) error { return webURL(&v.PublicURL, text) },
	},
	{
		name: "SECRET_KEYS",
		about: "The keys that seal tokens and sessions at rest; the first one seals, all of them open. `tgfleet keys generate` makes one. " +
			"A worker without them polls no bots; `tgfleet up` makes a key file when it is unset.",
		want: "ID:BASE64, or several of them with commas between", secret: true,
		readBy: map[Command]use{ForWorker: optional, ForListener: required, ForOperator: optional, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return secretKeys(&v.SecretKeys, text) },
	},
	{
		name:  "TELEGRAM_BOT_TOKEN",
		about: "The token of a bot to receive from, without further preparation.",
		want:  "NUMBER:LETTERS, as BotFather gives it", secret: true,
		readBy: map[Command]use{ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return botToken(&v.TelegramBotToken, text) },
	},
	{
		name:  "BOT_API_URL",
		about: "The Bot API server.",
		want:  wantURL,
		readBy: map[Command]use{
			ForWorker: otherwise(telegramURL), ForOperator: otherwise(telegramURL), ForUp: otherwise(telegramURL),
		},
		take: func(v *values, _ Command, text string) error { return webURL(&v.BotAPIURL, text) },
	},
	{
		name: "TELEGRAM_API_ID",
		about: "The id of the application as which accounts connect over MTProto, from https://my.telegram.org. Without it `tgfleet up` " +
			"connects none.",
		want:   "a number, as my.telegram.org shows it under App api_id",
		readBy: map[Command]use{ForListener: required, ForUp: optional},
		take: func(v *values, _ Command, text string) error {
			return positive(&v.Telegram.APIID, text, math.MaxInt32)
		},
	},
	{
		name:  "TELEGRAM_API_HASH",
		about: "The secret that belongs to TELEGRAM_API_ID.",
		want:  "32 hexadecimal digits, as my.telegram.org shows them under App api_hash", secret: true,
		readBy: map[Command]use{ForListener: required, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return apiHash(&v.Telegram.APIHash, text) },
	},
	{
		name: "TELEGRAM_DC",
		about: "An MTProto server that is not Telegram's, for trials: the number of its data centre and where it is. It needs " +
			"TELEGRAM_DC_KEY.",
		want:   "ID=HOST:PORT, for example 2=127.0.0.1:4430",
		readBy: map[Command]use{ForListener: optional, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return dataCentre(&v.Telegram, text) },
	},
	{
		name:   "TELEGRAM_DC_KEY",
		about:  "The file with the RSA public key of TELEGRAM_DC, in PEM.",
		want:   "the path of a file",
		readBy: map[Command]use{ForListener: optional, ForUp: optional},
		take: func(v *values, _ Command, text string) error {
			v.Telegram.DCKey = text
			return nil
		},
	},
	{
		name: "WEBHOOK_ALLOWED_NETS",
		about: "The addresses from which webhooks are taken; every address when it is unset. Telegram's are 149.154.160.0/20 and " +
			"91.108.4.0/22, and may change.",
		want:   wantNets,
		readBy: map[Command]use{ForAPI: optional, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return networks(&v.WebhookAllowedNets, text) },
	},
	{
		name:   "TRUSTED_PROXIES",
		about:  "The proxies whose X-Forwarded-For says where a request comes from; none when it is unset.",
		want:   wantNets,
		readBy: map[Command]use{ForAPI: optional, ForUp: optional},
		take:   func(v *values, _ Command, text string) error { return networks(&v.TrustedProxies, text) },
	},
	{
		name:  "INGEST_QUEUES",
		about: "Over how many queues updates are spread; the same for every api, listener and worker of a fleet.",
		want:  "a number from 1 to 64",
		readBy: map[Command]use{
			ForAPI: otherwise("2"), ForWorker: otherwise("2"), ForListener: otherwise("2"), ForOperator: otherwise("2"), ForUp: otherwise("2"),
		},
		take: func(v *values, _ Command, text string) error { return positive(&v.IngestQueues, text, 64) },
	},
	{
		name:   "WORKER_CONCURRENCY",
		about:  "How many tasks a worker has in hand at once.",
		want:   "a number from 1 to 1024",
		readBy: map[Command]use{ForWorker: otherwise("16"), ForUp: otherwise("16")},
		take:   func(v *values, _ Command, text string) error { return positive(&v.WorkerConcurrency, text, 1024) },
	},
	{
		name:   "DRAIN_TIMEOUT",
		about:  "How long a process may take to stop; give it less than whatever kills it afterwards.",
		want:   "a duration from 1s to 10m",
		readBy: map[Command]use{ForAPI: otherwise("25s"), ForWorker: otherwise("25s"), ForListener: otherwise("25s"), ForUp: otherwise("25s")},
		take: func(v *values, _ Command, text string) error {
			return duration(&v.DrainTimeout, text, time.Second, 10*time.Minute)
		},
	},
	{
		name: "LEDGER_RETENTION",
		about: "How long updates are kept in the ledger as they came, by whole days of UTC; 0 keeps them for ever. What was made of them stays. " +
			"A day with events that nobody has taken yet, with open dead letters, or that a replay is reading stays longer.",
		want:   "days like 30d or hours like 720h, from 1d to 3650d, or 0",
		readBy: map[Command]use{ForWorker: otherwise("30d"), ForUp: otherwise("30d")},
		take: func(v *values, _ Command, text string) error {
			return retention(&v.LedgerRetention, text, day, 3650*day)
		},
	},
	{
		name:  "LOG_LEVEL",
		about: "The least level that is logged.",
		want:  "debug, info, warn or error",
		readBy: map[Command]use{
			ForAPI: otherwise("info"), ForWorker: otherwise("info"), ForListener: otherwise("info"), ForOperator: otherwise("info"), ForUp: otherwise("warn"),
		},
		take: func(v *values, _ Command, text string) error { return level(&v.LogLevel, text) },
	},
	{
		name:  "LOG_FORMAT",
		about: "How log lines are written.",
		want:  "json or text",
		readBy: map[Command]use{
			ForAPI: otherwise("json"), ForWorker: otherwise("json"), ForListener: otherwise("json"), ForOperator: otherwise("text"), ForUp: otherwise("text"),
		},
		take: func(v *values, _ Command, text string) error { return oneOf(&v.LogFormat, text, "json", "text") },
	},
}
