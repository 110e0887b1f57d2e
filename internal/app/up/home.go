package up

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// embeddedRedis is the REDIS_URL that asks for a Redis inside the process.
const embeddedRedis = "embedded"

// home is where a fleet in one process keeps what it must not forget.
type home struct {
	databaseURL seal.Secret
	// databasePath is the file of a SQLite database, and empty for PostgreSQL.
	databasePath    string
	redisURL        seal.Secret
	queueDiesWithUs bool
	secretKeys      seal.Secret
}

// findHome finds a place for what the environment does not place: a database file and a key file in dir, which it makes.
func findHome(dir string, cfg config.Up) (home, error) {
	h := home{
		databaseURL: cfg.DatabaseURL, redisURL: cfg.RedisURL, secretKeys: cfg.SecretKeys,
		queueDiesWithUs: cfg.RedisURL.Reveal() == embeddedRedis,
	}
	if h.databaseURL == "" || h.secretKeys == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return home{}, fmt.Errorf("--data: %w", err)
		}
	}
	if h.databaseURL == "" {
		h.databaseURL = seal.Secret("sqlite:" + filepath.Join(dir, "tgfleet.db"))
	}
	if path, isFile := strings.CutPrefix(h.databaseURL.Reveal(), "sqlite:"); isFile {
		h.databasePath = path
	}
	if h.secretKeys == "" {
		keys, err := keyFile(filepath.Join(dir, "secret.keys"))
		if err != nil {
			return home{}, err
		}
		h.secretKeys = keys
	}
	return h, nil
}

// keyFile reads the keys in the file at path, and makes one key and the file, for its owner only, when there is none.
func keyFile(path string) (seal.Secret, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator says where the keys are
	if err == nil {
		return seal.Secret(strings.TrimSpace(string(text))), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the keys: %w", err)
	}
	key, err := seal.Generate(seal.NewID(time.Now()))
	if err != nil {
		return "", err
	}
	// The file appears whole or not at all: half a key would lock the stored tokens away.
	if err := os.WriteFile(path+".new", []byte(key.Private().Reveal()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the keys: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("write the keys: %w", err)
	}
	return key.Private(), nil
}
