package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
)

// requireWritten waits until Redis has handed its append-only file to the system. With the policy everysec it may put the write off
// for up to two seconds while the last sync is still under way (aof.c, flushAppendOnlyFile), so a crash in that time
// takes a task that was answered for. With always it writes and syncs before it answers.
func (f *fixture) requireWritten(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := f.raw.Info(t.Context(), "persistence").Result()
		return err == nil && strings.Contains(info, "aof_buffer_length:0\r\n")
	}, queuetest.Within, time.Millisecond)
}

func TestRedisThatIsKilledKeepsWhatItsPolicyPromises(t *testing.T) {
	t.Parallel()
	const tasks = 200
	for name, test := range map[string]struct {
		options localservers.RedisOptions
		// written says to kill it only after it has written its file.
		written bool
		kept    int
	}{
		"without append-only nothing": {options: localservers.RedisOptions{}, kept: 0},
		"everysec what it has written": {
			options: localservers.RedisOptions{AppendOnly: true, Fsync: "everysec"}, written: true, kept: tasks,
		},
		"always everything": {
			options: localservers.RedisOptions{AppendOnly: true, Fsync: "always"}, kept: tasks,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, test.options)
			var put []string
			for i := range tasks {
				put = append(put, fmt.Sprint(i))
				f.put(t, put[i])
			}
			if test.written {
				f.requireWritten(t)
			}

			require.NoError(t, f.redis.Kill())
			require.NoError(t, f.redis.Restart(t.Context()))

			require.Equal(t, queue.Depth{Pending: test.kept}, f.depth(t))
			if test.kept == 0 {
				return
			}
			got := make(chan string, tasks)
			queuetest.Run(t, f.client.Serve(queuetest.Serving(collect(got))))
			var served []string
			for range test.kept {
				served = append(served, queuetest.Receive(t, got))
			}
			require.ElementsMatch(t, put, served)
		})
	}
}

// BenchmarkPutByFsyncPolicy puts batches as the sink makes them, 64 updates of 1 KiB, in turn with one policy and with the
// other, so that a busy machine slows both alike.
func BenchmarkPutByFsyncPolicy(b *testing.B) {
	batch := strings.Repeat("x", 64<<10)
	always := setup(b, localservers.RedisOptions{AppendOnly: true, Fsync: "always"})
	everysec := setup(b, localservers.RedisOptions{AppendOnly: true, Fsync: "everysec"})
	var slow, fast time.Duration
	for b.Loop() {
		start := time.Now()
		always.put(b, batch)
		slow += time.Since(start)
		start = time.Now()
		everysec.put(b, batch)
		fast += time.Since(start)
	}
	b.ReportMetric(float64(slow.Microseconds())/float64(b.N), "µs-always/put")
	b.ReportMetric(float64(fast.Microseconds())/float64(b.N), "µs-everysec/put")
	b.ReportMetric(float64(slow)/float64(fast), "always/everysec")
}
