package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// Suite checks what every Redis must do under package queue: the real one and the embedded one. start returns the address of a new
// and empty one for each test.
func Suite(t *testing.T, start func(t testing.TB) seal.Secret) {
	t.Helper()
	tests := map[string]func(t *testing.T, client *queue.Client){
		"payloads arrive as they were put":             payloadsArrive,
		"each shard of the class is filled and served": shardsAreServed,
		"a failing task is retried without end":        failingTaskIsRetried,
		"ordinary failures are no crashes":             failuresAreNoCrashes,
		"failures are counted durably":                 failuresAreCounted,
		"what was marked when a worker died is blamed": markedIsBlamed,
		"nobody is blamed without a crash":             nobodyIsBlamed,
		"a delivery taken for dead marks nothing":      supersededMarksNothing,
		"a count that went back holds nobody up":       countWentBack,
		"undecodable payloads reach the handler":       undecodablePayloadsReachTheHandler,
		"a panic is an ordinary failure":               panicIsRetried,
		"a panicking decoder is a decode error":        panickingDecoder,
		"a throttled task waits as long as asked":      throttledTaskWaits,
		"depth tells where tasks are":                  depthTellsWhereTasksAre,
		"a stop lets handlers finish":                  stopLetsHandlersFinish,
		"a stop gives unfinished tasks back":           stopGivesTasksBack,
		"a working redis passes its probe":             probeSucceeds,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, Open(t, start(t), queue.Options{Shards: map[queue.Class]int{Text.Class: 2}}))
		})
	}
}

func put(t *testing.T, client *queue.Client, payload string) {
	t.Helper()
	require.NoError(t, queue.Put(t.Context(), client, Text, payload))
}

func payloadsArrive(t *testing.T, client *queue.Client) {
	payloads := []string{"", "plain", "\x00\xff\xfe not UTF-8", string(bytes.Repeat([]byte{0xAA}, 256<<10))}
	for _, payload := range payloads {
		put(t, client, payload)
	}
	got := make(chan *queue.Delivery[string], len(payloads))
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		return nil
	})))
	var arrived, ids []string
	for range payloads {
		d := Receive(t, got)
		require.NoError(t, d.DecodeErr)
		require.Equal(t, d.Payload, string(d.Raw))
		arrived, ids = append(arrived, d.Payload), append(ids, d.ID)
	}
	require.ElementsMatch(t, payloads, arrived)
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), len(payloads), "each task has an id of its own")
	requireEmpty(t, client)
	require.Empty(t, got, "a task that succeeded never comes again")
}

func requireEmpty(t *testing.T, client *queue.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		depth, err := client.Depth(t.Context(), Text.Class)
		return err == nil && depth == queue.Depth{}
	}, Within, 10*time.Millisecond)
}

func shardsAreServed(t *testing.T, client *queue.Client) {
	for range 4 {
		put(t, client, "task")
	}
	queues := make(chan string, 4)
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		queues <- d.Queue
		return nil
	})))
	counts := map[string]int{}
	for range 4 {
		counts[Receive(t, queues)]++
	}
	require.Equal(t, map[string]int{"ingest-0": 2, "ingest-1": 2}, counts)
}

func failingTaskIsRetried(t *testing.T, client *queue.Client) {
	put(t, client, "stubborn")
	const failures = 30 // asynq archives after 25 by itself
	var tries atomic.Int64
	done := make(chan struct{})
	Run(t, client.Serve(Serving(func(context.Context, *queue.Delivery[string]) error {
		if tries.Add(1) <= failures {
			return fault.Throttle(0, errors.New("not yet"))
		}
		close(done)
		return nil
	})))
	Receive(t, done)
	requireEmpty(t, client)
}

func failuresAreNoCrashes(t *testing.T, client *queue.Client) {
	put(t, client, "task")
	crashes := make(chan int, 2)
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		crashes <- d.Crashes
		if len(crashes) < 2 {
			return errors.New("an ordinary failure")
		}
		return nil
	})))
	requireEmpty(t, client)
	require.Zero(t, Receive(t, crashes))
	require.Zero(t, Receive(t, crashes))
}

func failuresAreCounted(t *testing.T, client *queue.Client) {
	put(t, client, "counted")
	type count struct {
		failures int
		err      error
	}
	// The first server sees two failures, or more when it is slow to stop; the second goes on counting.
	var last int
	for range 2 {
		counts := make(chan count, 10)
		stop := Run(t, client.Serve(Serving(func(ctx context.Context, d *queue.Delivery[string]) error {
			failures, err := d.CountFailure(ctx)
			counts <- count{failures, err}
			return fault.Throttle(0, errors.New("failed"))
		})))
		require.Equal(t, count{failures: last + 1}, Receive(t, counts))
		require.Equal(t, count{failures: last + 2}, Receive(t, counts))
		require.NoError(t, stop())
		last += 2 + len(counts)
	}
}

// deliver returns the delivery of the next task, which goes on until the test ends.
func deliver(t *testing.T, client *queue.Client) *queue.Delivery[string] {
	t.Helper()
	put(t, client, "payload")
	got, release := make(chan *queue.Delivery[string], 1), make(chan struct{})
	stop := Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		<-release
		return nil
	})))
	t.Cleanup(func() {
		close(release)
		require.NoError(t, stop())
	})
	return Receive(t, got)
}

// again returns what the next delivery of the same task would be.
func again(d *queue.Delivery[string], crashes int) *queue.Delivery[string] {
	next := *d
	next.Crashes += crashes
	return &next
}

func requireBlamed(t *testing.T, d *queue.Delivery[string], parts ...int) {
	t.Helper()
	blamed, err := d.Blamed(t.Context())
	require.NoError(t, err)
	require.Equal(t, parts, blamed)
}

func markedIsBlamed(t *testing.T, client *queue.Client) {
	d := deliver(t, client)
	requireBlamed(t, d)
	require.NoError(t, d.Mark(t.Context(), 7))
	require.NoError(t, d.Mark(t.Context(), 12))
	second := again(d, 1)
	requireBlamed(t, second, 12)
	requireBlamed(t, second, 12)
	require.NoError(t, second.Mark(t.Context(), -1))
	third := again(second, 1)
	requireBlamed(t, third, 12, -1)
	require.NoError(t, third.Mark(t.Context(), 12))
	requireBlamed(t, again(third, 2), 12, -1, 12)
}

func nobodyIsBlamed(t *testing.T, client *queue.Client) {
	d := deliver(t, client)
	require.NoError(t, d.Mark(t.Context(), 3))
	require.NoError(t, d.Unmark(t.Context()))
	second := again(d, 1)
	requireBlamed(t, second)
	require.NoError(t, second.Mark(t.Context(), 3))
	failed := again(second, 0) // comes back for a failure, or because its worker stopped
	requireBlamed(t, failed)
	requireBlamed(t, again(failed, 1))
}

func supersededMarksNothing(t *testing.T, client *queue.Client) {
	d := deliver(t, client)
	require.NoError(t, d.Mark(t.Context(), 3))
	second := again(d, 1)
	requireBlamed(t, second, 3)
	require.Equal(t, fault.Transient, fault.ClassOf(d.Mark(t.Context(), 4)))
	require.NoError(t, second.Mark(t.Context(), 5))
	require.NoError(t, d.Unmark(t.Context()), "it has no mark any more")
	requireBlamed(t, d, 3)
	requireBlamed(t, again(second, 1), 3, 5)
}

// countWentBack repeats a task with the message of a delivery that was taken for dead.
func countWentBack(t *testing.T, client *queue.Client) {
	d := deliver(t, client)
	second := again(d, 1)
	requireBlamed(t, second)
	require.NoError(t, second.Mark(t.Context(), 5))
	back := again(d, 0)
	requireBlamed(t, back)
	require.Equal(t, second.Crashes, back.Crashes)
	require.NoError(t, back.Mark(t.Context(), 3))
	requireBlamed(t, again(back, 1), 3)
}

func undecodablePayloadsReachTheHandler(t *testing.T, client *queue.Client) {
	put(t, client, "undecodable")
	got := make(chan *queue.Delivery[string], 1)
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		return nil
	})))
	d := Receive(t, got)
	require.EqualError(t, d.DecodeErr, "decode task text: no decoding")
	require.Empty(t, d.Payload)
	require.Equal(t, "undecodable", string(d.Raw))
}

func panickingDecoder(t *testing.T, client *queue.Client) {
	put(t, client, "decoder panics")
	got := make(chan error, 1)
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d.DecodeErr
		return nil
	})))
	err := Receive(t, got)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, "decode task text: panic: string at ")
	require.NotContains(t, err.Error(), "decoder panics", "the panic's value is not shown")
}

func panicIsRetried(t *testing.T, client *queue.Client) {
	put(t, client, "task")
	var tries atomic.Int64
	Run(t, client.Serve(Serving(func(context.Context, *queue.Delivery[string]) error {
		if tries.Add(1) == 1 {
			panic("once")
		}
		return nil
	})))
	require.Eventually(t, func() bool { return tries.Load() == 2 }, Within, 10*time.Millisecond)
	requireEmpty(t, client)
}

func throttledTaskWaits(t *testing.T, client *queue.Client) {
	put(t, client, "task")
	const asked = 1500 * time.Millisecond
	runs := make(chan time.Time, 2)
	Run(t, client.Serve(Serving(func(context.Context, *queue.Delivery[string]) error {
		runs <- time.Now()
		if len(runs) == 1 {
			return fault.Throttle(asked, errors.New("slow down"))
		}
		return nil
	})))
	require.Eventually(t, func() bool { return len(runs) == 2 }, Within, 10*time.Millisecond)
	require.GreaterOrEqual(t, -Receive(t, runs).Sub(Receive(t, runs)), asked)
}

func depthTellsWhereTasksAre(t *testing.T, client *queue.Client) {
	depth, err := client.Depth(t.Context(), Text.Class)
	require.NoError(t, err)
	require.Equal(t, queue.Depth{}, depth)
	for i := range 6 {
		put(t, client, fmt.Sprint(i))
	}
	depth, err = client.Depth(t.Context(), Text.Class)
	require.NoError(t, err)
	require.Positive(t, depth.Oldest)
	depth.Oldest = 0
	require.Equal(t, queue.Depth{Pending: 6}, depth)

	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	Run(t, client.Serve(Serving(func(ctx context.Context, d *queue.Delivery[string]) error {
		if d.Payload == "0" || d.Payload == "1" { // the first in their queues
			return fault.Throttle(time.Hour, errors.New("later"))
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})))
	require.Eventually(t, func() bool {
		depth, err := client.Depth(t.Context(), Text.Class)
		depth.Oldest = 0
		return err == nil && depth == queue.Depth{Pending: 2, Active: 2, Retry: 2}
	}, Within, 10*time.Millisecond)
}

func stopLetsHandlersFinish(t *testing.T, client *queue.Client) {
	put(t, client, "slow")
	started, finish := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	stop := Run(t, client.Serve(Serving(func(ctx context.Context, _ *queue.Delivery[string]) error {
		close(started)
		<-finish
		finished.Store(true)
		return ctx.Err()
	})))
	Receive(t, started)
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case err := <-ended:
		require.FailNow(t, "the stop did not wait for the handler", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(finish)
	require.NoError(t, Receive(t, ended))
	require.True(t, finished.Load())
	requireEmpty(t, client)
}

func stopGivesTasksBack(t *testing.T, client *queue.Client) {
	put(t, client, "too slow")
	started := make(chan struct{})
	var ended atomic.Bool
	cfg := Serving(func(ctx context.Context, _ *queue.Delivery[string]) error {
		close(started)
		<-ctx.Done()
		ended.Store(true)
		return ctx.Err()
	})
	cfg.Drain = 2 * time.Second
	stop := Run(t, client.Serve(cfg))
	Receive(t, started)
	begin := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(begin), 3*cfg.Drain)
	require.True(t, ended.Load(), "no handler outlives the server")
	depth, err := client.Depth(t.Context(), Text.Class)
	require.NoError(t, err)
	depth.Oldest = 0
	require.Equal(t, queue.Depth{Pending: 1}, depth)

	got := make(chan *queue.Delivery[string], 1)
	Run(t, client.Serve(Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		got <- d
		return nil
	})))
	again := Receive(t, got)
	require.Equal(t, "too slow", again.Payload)
	require.Zero(t, again.Crashes, "a stop is no crash")
}

func probeSucceeds(t *testing.T, client *queue.Client) {
	require.NoError(t, client.Probe(t.Context()))
	used, err := client.MemoryUsed(t.Context())
	require.NoError(t, err)
	require.Zero(t, used, "without a limit nothing of it is used")
}
