package localservers

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon bounds what takes seconds on an idle machine.
const soon = 60 * time.Second

func (r *Redis) requireAnswer(t *testing.T, want, command string) {
	t.Helper()
	lines, err := r.ask(command)
	require.NoError(t, err)
	require.Contains(t, lines, want)
}

func TestSentinelsMakeAReplicaTheMasterWhenItDies(t *testing.T) {
	t.Parallel()
	group, err := StartRedisSentinel(t.Context(), RedisOptions{AppendOnly: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, group.Stop()) })
	first, err := group.Master()
	require.NoError(t, err)
	replicas, err := group.Replicas()
	require.NoError(t, err)
	require.Len(t, replicas, 2)
	require.NotContains(t, replicas, first)
	first.requireAnswer(t, "+OK", "SET key kept")
	for _, replica := range replicas {
		require.Eventually(t, func() bool {
			lines, err := replica.ask("GET key")
			return err == nil && slices.Contains(lines, "kept")
		}, soon, 10*time.Millisecond)
	}

	require.NoError(t, first.Kill())

	second := first
	require.Eventually(t, func() bool {
		master, err := group.Master()
		if err == nil {
			second = master
		}
		return second != first
	}, soon, 10*time.Millisecond)
	require.Contains(t, replicas, second)
	second.requireAnswer(t, "kept", "GET key")
	require.NoError(t, first.Restart(t.Context()))
	require.Eventually(t, func() bool {
		lines, err := first.ask("INFO replication")
		return err == nil && slices.Contains(lines, "master_link_status:up")
	}, soon, 10*time.Millisecond, "the old master follows the new one")
}

func TestClusterReplacesAMasterByItsReplica(t *testing.T) {
	t.Parallel()
	authority, err := NewAuthority(t.TempDir())
	require.NoError(t, err)
	cluster, err := StartRedisCluster(t.Context(), 3, RedisOptions{TLS: authority})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
	first, replicas, err := cluster.Shard("key")
	require.NoError(t, err)
	require.Len(t, replicas, 1)
	require.NotContains(t, replicas, first)

	require.NoError(t, first.Kill())

	require.Eventually(t, func() bool {
		master, _, err := cluster.Shard("key")
		return err == nil && master == replicas[0]
	}, soon, 10*time.Millisecond)
	require.NoError(t, first.Restart(t.Context()))
	require.Eventually(t, func() bool {
		_, followers, err := cluster.Shard("key")
		return err == nil && slices.Contains(followers, first)
	}, soon, 10*time.Millisecond)
}

func TestRedisWithAnAuthorityIsTrustedByThoseWhoKnowIt(t *testing.T) {
	t.Parallel()
	authority, err := NewAuthority(t.TempDir())
	require.NoError(t, err)
	server, err := StartRedis(t.Context(), RedisOptions{TLS: authority})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.Contains(t, server.URL(), "rediss://127.0.0.1:")
	require.Contains(t, server.URL(), "ca_file=")
	server.requireAnswer(t, ":0", "DBSIZE")

	stranger, err := NewAuthority(t.TempDir())
	require.NoError(t, err)
	server.options.TLS = stranger
	_, err = server.ask("DBSIZE")
	require.ErrorContains(t, err, "unknown authority")
}
