package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConfigurationMistakesAreToldAllAtOnce starts each command with several wrong settings.
func TestConfigurationMistakesAreToldAllAtOnce(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	wrong := environment{
		"DATABASE_URL": "mysql://tgfleet:swordfish@127.0.0.1/tgfleet", "REDIS_URL": "http://:swordfish@127.0.0.1:6379",
		"HTTP_ADDR": "3002", "METRICS_ADDR": "127.0.0.1:99999", "PUBLIC_URL": "bots.example.org", "SECRET_KEYS": "k1:swordfish",
		"TELEGRAM_BOT_TOKEN": "swordfish", "BOT_API_URL": "https://user:swordfish@api.example.org", "WEBHOOK_ALLOWED_NETS": "10.0.0.0/33",
		"TRUSTED_PROXIES": "everyone", "INGEST_QUEUES": "0", "WORKER_CONCURRENCY": "many", "DRAIN_TIMEOUT": "25", "LEDGER_RETENTION": "soon",
		"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "TELEGRAM_API_ID": "none", "TELEGRAM_API_HASH": "swordfish", "TELEGRAM_DC": "2",
	}
	everywhere := []string{"DATABASE_URL", "LOG_LEVEL", "LOG_FORMAT"}
	queue := append([]string{"REDIS_URL", "INGEST_QUEUES", "DRAIN_TIMEOUT"}, everywhere...)
	front := []string{"HTTP_ADDR", "WEBHOOK_ALLOWED_NETS", "TRUSTED_PROXIES"}
	for _, c := range []struct {
		name  string
		cmd   command
		names []string
		code  int
	}{
		{"api", command{program: "api", env: wrong}, append(front, queue...), 2},
		{
			"worker-content",
			command{program: "worker-content", env: wrong},
			append([]string{"METRICS_ADDR", "SECRET_KEYS", "BOT_API_URL", "WORKER_CONCURRENCY", "LEDGER_RETENTION"}, queue...), 2,
		},
		{
			"mtproto-listener",
			command{program: "mtproto-listener", env: wrong},
			append([]string{"METRICS_ADDR", "SECRET_KEYS", "TELEGRAM_API_ID", "TELEGRAM_API_HASH", "TELEGRAM_DC"}, queue...), 2,
		},
		{
			"tgfleet up",
			command{program: "tgfleet", args: []string{"up", "--data", data}, env: wrong},
			append([]string{
				"SECRET_KEYS", "TELEGRAM_BOT_TOKEN", "TELEGRAM_API_ID", "TELEGRAM_API_HASH", "TELEGRAM_DC", "BOT_API_URL", "WORKER_CONCURRENCY",
				"LEDGER_RETENTION",
			}, append(front, queue...)...),
			1,
		},
		{
			"tgfleet bot list",
			command{program: "tgfleet", args: []string{"bot", "list"}, env: wrong},
			append([]string{"REDIS_URL", "INGEST_QUEUES", "SECRET_KEYS", "PUBLIC_URL", "BOT_API_URL"}, everywhere...), 1,
		},
		{"api without settings", command{program: "api"}, []string{"DATABASE_URL", "REDIS_URL"}, 2},
		{"worker-content without settings", command{program: "worker-content"}, []string{"DATABASE_URL", "REDIS_URL"}, 2},
		{
			"mtproto-listener without settings",
			command{program: "mtproto-listener"},
			[]string{"DATABASE_URL", "REDIS_URL", "SECRET_KEYS", "TELEGRAM_API_ID", "TELEGRAM_API_HASH"},
			2,
		},
		{"tgfleet migrate without settings", command{program: "tgfleet", args: []string{"migrate"}}, []string{"DATABASE_URL"}, 1},
		{
			"tgfleet bot set-webhook without settings",
			command{program: "tgfleet", args: []string{"bot", "set-webhook", "@nobody"}},
			[]string{"DATABASE_URL", "SECRET_KEYS", "PUBLIC_URL"},
			1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := run(t, c.cmd)
			require.Equal(t, c.code, got.code)
			require.Empty(t, got.stdout)
			require.ElementsMatch(t, c.names, mistakes(got.stderr), got.stderr)
			require.NotContains(t, got.stderr, "swordfish", "the values of secrets are not repeated")
			require.NotContains(t, got.stderr, "started")
		})
	}
	t.Cleanup(func() {
		_, err := os.Stat(data)
		require.ErrorIs(t, err, os.ErrNotExist, "tgfleet up has made its folder before it looked at its settings")
	})
}

// mistake is a line that names a variable, says that it is not right, and what would be.
var mistake = regexp.MustCompile(`(?m)^(?:tgfleet:)? *([A-Z_]+) is (?:not set|wrong|").*: .`)

// mistakes returns the variables whose mistakes text tells.
func mistakes(text string) []string {
	var names []string
	for _, line := range mistake.FindAllStringSubmatch(text, -1) {
		names = append(names, line[1])
	}
	return names
}

// TestProcessesRefuseADatabaseThatIsNotMigrated starts the processes before anybody has made the tables.
func TestProcessesRefuseADatabaseThatIsNotMigrated(t *testing.T) {
	t.Parallel()
	env := environment{
		"DATABASE_URL": postgres.Database(t), "REDIS_URL": "redis://127.0.0.1:1/0", "SECRET_KEYS": generateKeys(t),
		"HTTP_ADDR": "127.0.0.1:0", "METRICS_ADDR": "127.0.0.1:0",
	}
	for _, c := range []command{{program: "api", env: env}, {program: "worker-content", env: env}, {
		program: "tgfleet", args: []string{"bot", "list"}, env: env,
	}} {
		got := run(t, c)
		require.Equal(t, 1, got.code, c.program)
		require.Contains(t, got.stderr, "tgfleet migrate", c.program)
	}
}

// TestHelpTellsTheSettings asks every process for its settings.
func TestHelpTellsTheSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []command{
		{program: "api", args: []string{"--help"}},
		{program: "worker-content", args: []string{"--help"}},
		{program: "mtproto-listener", args: []string{"--help"}},
		{program: "tgfleet", args: []string{"up", "--help"}},
		{program: "tgfleet", args: []string{"migrate", "--help"}},
	} {
		got := run(t, c)
		require.Zero(t, got.code, c.program)
		require.Contains(t, got.stdout, "DATABASE_URL", c.program)
		require.Empty(t, got.stderr, c.program)
	}
}
