package queue_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
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
	if os.Getenv(orphanVariable) != "" {
		workUntilKilled()
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

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	queuetest.Suite(t, func(t testing.TB) seal.Secret {
		// One node is enough, without replicas: it refuses commands over keys of different slots like a larger cluster.
		server := localtest.Redis(t, localservers.RedisOptions{Args: []string{"--cluster-enabled", "yes"}})
		node := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer func() { require.NoError(t, node.Close()) }()
		require.NoError(t, node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
		require.Eventually(t, func() bool {
			return strings.Contains(node.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
		}, queuetest.Within, 10*time.Millisecond)
		return seal.Secret("redis-cluster://" + server.Addr() + "?replicas=0")
	})
}
