package config_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/config"
)

const (
	keys  = "k1:4N/1QxHeggw0mfmhLuhVMYFXPmScpXa5lbgrDDO071g="
	token = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
)

type env map[string]string

func (e env) lookup(name string) (string, bool) {
	text, set := e[name]
	return text, set
}

// full sets every variable to a right value that is no default.
func full() env {
	return env{
		"DATABASE_URL": "postgres://u:pw@db:5432/tgfleet", "REDIS_URL": "redis://:pw@redis:6379/3", "HTTP_ADDR": "127.0.0.1:80",
		"METRICS_ADDR": "[::1]:81", "PUBLIC_URL": "https://bots.example.org/x/", "SECRET_KEYS": keys, "TELEGRAM_BOT_TOKEN": token,
		"TELEGRAM_API_ID": "94575", "TELEGRAM_API_HASH": "0123456789abcdef0123456789abcdef",
		"TELEGRAM_DC": "2=127.0.0.1:4430", "TELEGRAM_DC_KEY": "dc.pem",
		"BOT_API_URL": "http://127.0.0.1:8081/", "WEBHOOK_ALLOWED_NETS": "149.154.160.0/20, 91.108.4.0/22,192.0.2.1",
		"TRUSTED_PROXIES": "fd00::/8", "INGEST_QUEUES": "4", "WORKER_CONCURRENCY": "32", "DRAIN_TIMEOUT": "1m30s",
		"LEDGER_RETENTION": "90d", "LOG_LEVEL": "WARN", "LOG_FORMAT": "text",
	}
}

// withJSON is full with the json format, which is not the default of the operator's commands.
func withJSON() env {
	e := full()
	e["LOG_FORMAT"] = "json"
	return e
}

func TestEverySettingReachesItsField(t *testing.T) {
	t.Parallel()
	api, err := config.LoadAPI(full().lookup)
	require.NoError(t, err)
	worker, err := config.LoadWorker(full().lookup)
	require.NoError(t, err)
	operator, err := config.LoadOperator(withJSON().lookup)
	require.NoError(t, err)
	up, err := config.LoadUp(withJSON().lookup)
	require.NoError(t, err)
	listener, err := config.LoadListener(full().lookup)
	require.NoError(t, err)
	for _, loaded := range []any{api, worker, listener, operator, up} {
		requireFull(t, reflect.ValueOf(loaded), reflect.TypeOf(loaded).String())
	}

	require.Equal(t, "postgres://u:pw@db:5432/tgfleet", api.DatabaseURL.Reveal())
	require.Equal(t, "redis://:pw@redis:6379/3", worker.RedisURL.Reveal())
	require.Equal(t, keys, worker.SecretKeys.Reveal())
	require.Equal(t, token, up.TelegramBotToken.Reveal())
	require.Equal(t, "http://127.0.0.1:8081", worker.BotAPIURL, "a slash at the end is taken off")
	require.Equal(t, "https://bots.example.org/x", operator.PublicURL)
	require.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("149.154.160.0/20"), netip.MustParsePrefix("91.108.4.0/22"), netip.MustParsePrefix("192.0.2.1/32"),
	}, api.WebhookAllowedNets)
	require.Equal(t, config.Telegram{
		APIID: 94575, APIHash: "0123456789abcdef0123456789abcdef", DC: 2, DCAddr: "127.0.0.1:4430", DCKey: "dc.pem",
	}, listener.Telegram)
	require.Equal(t, 4, api.IngestQueues)
	require.Equal(t, 32, worker.WorkerConcurrency)
	require.Equal(t, 90*time.Second, api.DrainTimeout)
	require.Equal(t, 90*24*time.Hour, worker.LedgerRetention)
	require.Equal(t, slog.LevelWarn, api.LogLevel)
	require.Equal(t, "text", api.LogFormat)
	require.Equal(t, "json", up.LogFormat)
	require.NotContains(t, fmt.Sprintf("%+v %+v %+v %+v %+v", api, worker, listener, operator, up), "pw@")
}

// requireFull finds a field that a loader forgot.
func requireFull(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	if v.Kind() != reflect.Struct {
		require.False(t, v.IsZero(), name)
		return
	}
	for i := range v.NumField() {
		requireFull(t, v.Field(i), name+"."+v.Type().Field(i).Name)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	up, err := config.LoadUp(env{"HTTP_ADDR": ""}.lookup)
	require.NoError(t, err)
	require.Equal(t, config.Up{
		Log:               config.Log{LogLevel: slog.LevelWarn, LogFormat: "text"},
		Queue:             config.Queue{RedisURL: "embedded", IngestQueues: 2},
		Webhook:           config.Webhook{HTTPAddr: ":3002"},
		BotAPIURL:         "https://api.telegram.org",
		WorkerConcurrency: 16, DrainTimeout: 25 * time.Second, LedgerRetention: 30 * 24 * time.Hour,
	}, up)

	worker, err := config.LoadWorker(env{"DATABASE_URL": "sqlite:x.db", "REDIS_URL": "redis://127.0.0.1", "SECRET_KEYS": keys}.lookup)
	require.NoError(t, err)
	require.Equal(t, ":9102", worker.MetricsAddr)
	require.Equal(t, "json", worker.LogFormat)

	operator, err := config.LoadOperator(env{"DATABASE_URL": "sqlite:x.db"}.lookup)
	require.NoError(t, err)
	require.Empty(t, operator.SecretKeys)
}

func TestSettingsOfTelegramBelongTogether(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"TELEGRAM_DC", "TELEGRAM_DC_KEY"} {
		e := full()
		delete(e, missing)
		_, err := config.LoadListener(e.lookup)
		require.ErrorContains(t, err, "TELEGRAM_DC and TELEGRAM_DC_KEY belong together")
		_, err = config.LoadUp(e.lookup)
		require.ErrorContains(t, err, "TELEGRAM_DC and TELEGRAM_DC_KEY belong together")
	}
	for _, missing := range []string{"TELEGRAM_API_ID", "TELEGRAM_API_HASH"} {
		e := full()
		delete(e, missing)
		_, err := config.LoadUp(e.lookup)
		require.ErrorContains(t, err, "TELEGRAM_API_ID and TELEGRAM_API_HASH belong together")
	}
	e := full()
	e["TELEGRAM_API_HASH"], e["TELEGRAM_DC"] = "hunter2", "127.0.0.1:4430"
	_, err := config.LoadListener(e.lookup)
	require.ErrorContains(t, err, "TELEGRAM_API_HASH is wrong (its value is not shown): want 32 hexadecimal digits")
	require.ErrorContains(t, err, `TELEGRAM_DC is "127.0.0.1:4430": want ID=HOST:PORT`)
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.LoadWorker(env{
		"REDIS_URL": "http://:hunter2@redis", "METRICS_ADDR": "9102", "SECRET_KEYS": "k1:hunter2", "BOT_API_URL": "api.telegram.org",
		"INGEST_QUEUES": "0", "WORKER_CONCURRENCY": "many", "DRAIN_TIMEOUT": "25", "LEDGER_RETENTION": "30", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml",
		"HTTP_ADDR": "not the worker's business",
	}.lookup)
	require.Error(t, err)
	require.Equal(t, []string{
		"DATABASE_URL is not set: want postgres://USER:PASSWORD@HOST:PORT/NAME, postgresql://... or sqlite:PATH",
		"REDIS_URL is wrong (its value is not shown): want redis://USER:PASSWORD@HOST:PORT/DB, rediss://..., " +
			"redis-sentinel://... or redis-cluster://...",
		`METRICS_ADDR is "9102": want HOST:PORT, or :PORT for every address of the machine`,
		"SECRET_KEYS is wrong (its value is not shown): key k1 is no base64: want ID:BASE64, with an ID of up to 32 letters, " +
			"digits, - and _ and the BASE64 of 32 bytes",
		`BOT_API_URL is "api.telegram.org": want http:// or https://, a host and perhaps a path`,
		`INGEST_QUEUES is "0": want a number from 1 to 64`,
		`WORKER_CONCURRENCY is "many": want a number from 1 to 1024`,
		`DRAIN_TIMEOUT is "25": the unit is missing: write 25s for seconds`,
		`LEDGER_RETENTION is "30": the unit is missing: write 30d for days`,
		`LOG_LEVEL is "loud": want debug, info, warn or error`,
		`LOG_FORMAT is "xml": want json or text`,
	}, strings.Split(err.Error(), "\n"))
}

func TestPasswordThatBelongsNowhereIsNotShown(t *testing.T) {
	t.Parallel()
	_, err := config.LoadUp(env{
		"BOT_API_URL": "https://bot:hunter2@api example.org",
		"HTTP_ADDR":   "postgres://tg:hunter2@db/tg", "TRUSTED_PROXIES": "tg:hunter2@10.0.0.1",
	}.lookup)
	require.ErrorContains(t, err, "BOT_API_URL is wrong (its value is not shown): want http:// or https://, a host and perhaps a path")
	require.Len(t, strings.Split(err.Error(), "\n"), 3)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestWhatIsRightAndWhatIsNot(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name         string
		right, wrong []string
	}{
		{
			"DATABASE_URL",
			[]string{"postgres:///tg?host=/run/postgresql", "postgresql://h/tg", "sqlite:/var/lib/tg.db", "sqlite:tg.db"},
			[]string{"sqlite:", "mysql://h/tg", "host=h dbname=tg", "postgres:h", "postgres://u:p w@h/tg", " "},
		},
		{
			"REDIS_URL",
			[]string{"redis://h", "rediss://:pw@h:6380/1", "redis-sentinel://a,b:26379,c/0?master=m", "redis-cluster://a:1,b:2", "embedded"},
			[]string{"redis://", "h:6379", "embeded", "redis:h"},
		},
		{"HTTP_ADDR", []string{":0", "0.0.0.0:3002", "[::]:3002", "localhost:80"}, []string{"3002", "h:", "h:http", "h:65536", "::1:80"}},
		{
			"BOT_API_URL",
			[]string{"https://h", "http://h:3002/deep/path/"},
			[]string{"h", "ftp://h", "https://", "https://h/?a=1", "https://h/#x", "https://u:p@h/", "https://:80", "https://%zz"},
		},
		{"TELEGRAM_BOT_TOKEN", []string{"1:a"}, []string{"1:", ":a", "0:a", "abc", "1:a b", "1:a\n"}},
		{
			"WEBHOOK_ALLOWED_NETS",
			[]string{"10.0.0.0/8", "::1", "10.0.0.1, fd00::/8"},
			[]string{"10.0.0.1/8", "10.0.0.0/33", "telegram.org", "10.0.0.0/8,", ","},
		},
		{"INGEST_QUEUES", []string{"1", "64"}, []string{"0", "65", "-1", "2.5", "two", "99999999999999999999"}},
		{"WORKER_CONCURRENCY", []string{"1", "1024"}, []string{"0", "1025"}},
		{"DRAIN_TIMEOUT", []string{"1s", "10m", "1500ms"}, []string{"999ms", "10m1s", "0", "25", "-5s", "inf"}},
		{
			"LEDGER_RETENTION",
			[]string{"0", "0d", "0s", "1d", "24h", "3650d", "720h30m"},
			[]string{"23h", "3651d", "30", "1.5d", "-1d", "+1d", "d", "1d12h", "99999999999999999999d", "2000000h", "-24h", "forever"},
		},
		{"LOG_LEVEL", []string{"debug", "INFO", "error"}, []string{"trace", "info+1", "8"}},
		{"SECRET_KEYS", []string{keys}, []string{"k1", keys + "," + keys}},
	}
	for _, c := range cases {
		for _, text := range c.right {
			_, err := config.LoadUp(env{c.name: text}.lookup)
			require.NoError(t, err, text)
		}
		for _, text := range c.wrong {
			_, err := config.LoadUp(env{c.name: text}.lookup)
			require.ErrorContains(t, err, c.name+" is ", "%s=%q", c.name, text)
			require.NotContains(t, err.Error(), "\n")
		}
	}
}

func TestRetentionIsWrittenInDaysOrHours(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0": 0, "0d": 0, "1d": 24 * time.Hour, "720h": 30 * 24 * time.Hour, "30d": 30 * 24 * time.Hour} {
		up, err := config.LoadUp(env{"LEDGER_RETENTION": text}.lookup)
		require.NoError(t, err)
		require.Equal(t, want, up.LedgerRetention, text)
	}
}

func TestEmbeddedRedisIsForUpAlone(t *testing.T) {
	t.Parallel()
	_, err := config.LoadAPI(env{"DATABASE_URL": "sqlite:x.db", "REDIS_URL": "embedded"}.lookup)
	require.ErrorContains(t, err, "REDIS_URL")
	require.NotContains(t, err.Error(), "embedded")
	_, err = config.LoadUp(env{"REDIS_URL": "x"}.lookup)
	require.ErrorContains(t, err, "`embedded`")
}

func TestACommandNamesWhatItNeeds(t *testing.T) {
	t.Parallel()
	_, err := config.LoadOperator(env{"DATABASE_URL": "sqlite:x.db"}.lookup, "SECRET_KEYS", "PUBLIC_URL")
	require.ErrorContains(t, err, "PUBLIC_URL is not set: want http")
	require.ErrorContains(t, err, "SECRET_KEYS is not set: want ID:BASE64")
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2"
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "SECRET_KEYS", "TELEGRAM_BOT_TOKEN"} {
		for _, text := range []string{hidden, "http://u:" + hidden + "@h:x/%zz", hidden + ":" + hidden, ":" + hidden} {
			_, err := config.LoadUp(env{name: text}.lookup)
			require.ErrorContains(t, err, name)
			if name != "SECRET_KEYS" || text != hidden+":"+hidden { // an id before a colon is no secret
				require.NotContains(t, err.Error(), hidden)
			}
		}
	}
}
