package queue_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestMain(m *testing.M) {
	if os.Getenv(silenceVariable) != "" {
		useRedisThatIsAway()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	queuetest.Suite(t, func(t testing.TB) seal.Secret {
		return seal.Secret(localtest.Redis(t, localservers.RedisOptions{}).URL())
	})
}
