package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
)

func TestEveryMetricMoves(t *testing.T) {
	t.Parallel()
	f := setup(t, localservers.RedisOptions{})
	f.put(t, "a")
	require.Error(t, func() error {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		return queue.Put(ended, f.client, queuetest.Text, "b")
	}())
	var tries atomic.Int64
	stop := queuetest.Run(t, f.client.Serve(queuetest.Serving(func(context.Context, *queue.Delivery[string]) error {
		if tries.Add(1) == 1 {
			return fault.Throttle(0, errors.New("once more"))
		}
		return nil
	})))
	require.Eventually(t, func() bool { return tries.Load() == 2 && f.depth(t) == queue.Depth{} }, queuetest.Within, time.Millisecond)
	require.NoError(t, stop())
	f.put(t, "waits")

	require.Equal(t, map[string]float64{
		"tgfleet_queue_put_total class=ingest result=ok":           2,
		"tgfleet_queue_put_total class=ingest result=failed":       1,
		"tgfleet_queue_put_duration_seconds class=ingest":          3,
		"tgfleet_queue_tasks_total class=ingest result=done":       1,
		"tgfleet_queue_tasks_total class=ingest result=retried":    1,
		"tgfleet_queue_task_duration_seconds class=ingest":         2,
		"tgfleet_queue_depth class=ingest state=pending":           1,
		"tgfleet_queue_depth class=ingest state=active":            0,
		"tgfleet_queue_depth class=ingest state=retry":             0,
		"tgfleet_queue_depth class=ingest state=archived":          0,
		"tgfleet_queue_oldest_age_seconds class=ingest":            1,
		"tgfleet_queue_put_back_total class=ingest found=active":   0,
		"tgfleet_queue_put_back_total class=ingest found=archived": 0,
		"tgfleet_queue_put_back_total class=ingest found=lost":     0,

		"tgfleet_queue_redis_memory_used_ratio":                    0,
		"tgfleet_queue_redis_unsafe setting=appendonly":            0,
		"tgfleet_queue_redis_unsafe setting=maxmemory-policy":      0,
		"tgfleet_queue_redis_unsafe setting=min-replicas-to-write": 0,
	}, f.scrape(t))
}

// scrape returns the values of all metrics, histograms as their counts and a positive age as 1.
func (f *fixture) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := f.puts.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			key := family.GetName()
			for _, label := range metric.GetLabel() {
				key += " " + label.GetName() + "=" + label.GetValue()
			}
			values[key] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			if family.GetName() == "tgfleet_queue_oldest_age_seconds" && values[key] > 0 {
				values[key] = 1
			}
		}
	}
	return values
}
