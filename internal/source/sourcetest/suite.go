// Package sourcetest is the conformance suite of every source of updates: webhook, polling and whatever comes later. It drives a source
// over its real wire into a sink whose failures are scripted, and asks for what the rest of the fleet relies on: the
// exact bytes arrive, each envelope says where it is from, nothing is acknowledged to Telegram before the sink has taken it, what the
// sink refuses comes again, and a source that is told to stop does so. How a source authenticates, retries and
// counts is its own business and has tests of its own.
package sourcetest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

// Wire is Telegram's side of one source, and the means to start the source on the other side. Its methods may be called from any number
// of goroutines.
type Wire interface {
	// Start starts the source as a new process would, with sink behind it. Stop ends its context, waits until it and whatever
	// serves it have ended, and returns its error; it is called once. No two sources run at a time.
	Start(t *testing.T, sink ingest.Sink) (stop func() error)
	// Deliver gives an update to Telegram and returns at once. From then on Telegram hands it to whatever source runs, again
	// and again with the same bytes, until the source acknowledges it; while none runs, Telegram keeps it.
	Deliver(raw []byte)
	// Acknowledged returns the updates that a source has acknowledged so far, each once and in any order: answered with
	// 2xx, confirmed by an offset, or covered by a saved state.
	Acknowledged() [][]byte
}

// Harness is what the suite needs to know of a source.
type Harness struct {
	// Want holds the Source, Origin, Format and Layer that every envelope must have; the rest of it is not read.
	Want ingest.Envelope
	// Updates returns n different updates as Telegram could send them, strange ones among them; BotAPIUpdates does for the Bot API.
	Updates func(n int) [][]byte
	// Open makes the wire of one test, with a Telegram that holds nothing yet, and closes it in the test's cleanup.
	Open func(t *testing.T) Wire
}

const (
	// patience bounds whatever must happen; a source may back off between tries.
	patience = 60 * time.Second
	// watch is how long something is watched that must not happen.
	watch = 300 * time.Millisecond
	// stopWithin is the longest that a source may take to stop: an HTTP server gives its requests some seconds.
	stopWithin = 30 * time.Second
	often      = 2 * time.Millisecond
)

// Run runs the suite. Its tests are parallel to each other; each one opens a wire of its own.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *fixture){
		"every update arrives byte for byte, with its origin":           everyUpdateArrives,
		"received_at is stamped on receipt":                             stampedOnReceipt,
		"nothing is acknowledged before the sink has taken it":          nothingAcknowledgedEarly,
		"what the sink refuses comes again until it takes it":           refusedComesAgain,
		"what one process did not bring in the next one gets":           nextProcessGetsIt,
		"a source that is told to stop does so":                         stopsWhenTold,
		"a source stops in bounded time while its sink does not answer": stopsWhileSinkHangs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &fixture{Harness: h, wire: h.Open(t)})
		})
	}
}

type fixture struct {
	Harness
	wire Wire
}

func everyUpdateArrives(t *testing.T, f *fixture) {
	sink := newRecorder()
	stop := f.wire.Start(t, sink)
	updates := f.Updates(250)
	for _, raw := range updates {
		f.wire.Deliver(raw)
	}
	f.requireAcknowledged(t, sink, updates)
	require.NoError(t, stop())

	for _, r := range sink.receipts() {
		require.Equal(t, f.Want.Source, r.env.Source)
		require.Equal(t, f.Want.Origin, r.env.Origin)
		require.Equal(t, f.Want.Format, r.env.Format)
		require.Equal(t, f.Want.Layer, r.env.Layer)
		require.True(t, contains(updates, r.env.Raw), "these bytes were never sent: %q", r.env.Raw)
		require.Equal(t, r.hash, ingest.HashOf(r.env.Raw), "the bytes were changed after Accept had returned")
	}
}

func stampedOnReceipt(t *testing.T, f *fixture) {
	sink := newRecorder()
	sink.refuse(1)
	stop := f.wire.Start(t, sink)
	updates := f.Updates(3)
	before := time.Now()
	for _, raw := range updates {
		f.wire.Deliver(raw)
	}
	f.requireAcknowledged(t, sink, updates)
	require.NoError(t, stop())
	for _, r := range sink.receipts() {
		require.False(t, r.env.ReceivedAt.Before(before), "stamped before it was sent")
		require.False(t, r.env.ReceivedAt.After(r.offeredAt), "stamped after it was offered to the sink")
	}
}

func nothingAcknowledgedEarly(t *testing.T, f *fixture) {
	sink := newRecorder()
	updates := f.Updates(5)
	held := updates[2]
	release := sink.hold(held)
	stop := f.wire.Start(t, sink)
	for _, raw := range updates {
		f.wire.Deliver(raw)
	}
	eventually(t, func() bool { return sink.wasOffered(held) }, "the update is offered to the sink")
	require.Never(t, func() bool { return contains(f.wire.Acknowledged(), held) }, watch, often)
	release()
	f.requireAcknowledged(t, sink, updates)
	require.NoError(t, stop())
}

func refusedComesAgain(t *testing.T, f *fixture) {
	sink := newRecorder()
	sink.refuse(2)
	stop := f.wire.Start(t, sink)
	updates := f.Updates(20)
	for _, raw := range updates {
		f.wire.Deliver(raw)
	}
	f.requireAcknowledged(t, sink, updates)
	require.NoError(t, stop())
}

func nextProcessGetsIt(t *testing.T, f *fixture) {
	updates := f.Updates(10)
	for _, raw := range updates {
		f.wire.Deliver(raw)
	}
	deaf := newRecorder()
	deaf.refuse(1 << 30)
	stop := f.wire.Start(t, deaf)
	eventually(t, func() bool { return deaf.wasOffered(updates[0]) }, "an update is offered to the sink")
	require.NoError(t, stop())
	require.Empty(t, f.wire.Acknowledged(), "the sink took nothing")

	sink := newRecorder()
	stop = f.wire.Start(t, sink)
	f.requireAcknowledged(t, sink, updates)
	require.NoError(t, stop())
}

func stopsWhenTold(t *testing.T, f *fixture) {
	sink := newRecorder()
	stop := f.wire.Start(t, sink)
	updates := f.Updates(2)
	f.wire.Deliver(updates[0])
	f.requireAcknowledged(t, sink, updates[:1])
	requireStops(t, sink, stop)

	f.wire.Deliver(updates[1])
	require.Never(t, func() bool { return sink.wasOffered(updates[1]) }, watch, often, "it still receives")
}

func stopsWhileSinkHangs(t *testing.T, f *fixture) {
	sink := newRecorder()
	raw := f.Updates(1)[0]
	release := sink.hold(raw)
	defer release()
	stop := f.wire.Start(t, sink)
	f.wire.Deliver(raw)
	eventually(t, func() bool { return sink.wasOffered(raw) }, "the update is offered to the sink")
	requireStops(t, sink, stop)
	require.Empty(t, f.wire.Acknowledged())
}

// requireStops lets the source end with an error, as a server does that had to cut a request, but not late.
func requireStops(t *testing.T, sink *recorder, stop func() error) {
	t.Helper()
	begun := time.Now()
	if err := stop(); err != nil {
		t.Logf("stopped with: %v", err)
	}
	require.Less(t, time.Since(begun), stopWithin)
	eventually(t, func() bool { return sink.running() == 0 }, "every call of Accept has ended")
}

// requireAcknowledged waits until all updates are acknowledged, and sees to it that at no time more is acknowledged than taken.
func (f *fixture) requireAcknowledged(t *testing.T, sink *recorder, updates [][]byte) {
	t.Helper()
	eventually(t, func() bool {
		// In this order: what was acknowledged before must have been taken by now.
		acknowledged := f.wire.Acknowledged()
		taken := sink.taken()
		for _, raw := range acknowledged {
			require.True(t, taken[ingest.HashOf(raw)], "acknowledged and not taken: %q", raw)
		}
		return len(acknowledged) >= len(updates) && !slices.ContainsFunc(updates, func(raw []byte) bool {
			return !contains(acknowledged, raw)
		})
	}, "every update is acknowledged")
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.True(t, testkit.Until(patience, condition), "not within %s: %s", patience, what)
}

func contains(updates [][]byte, raw []byte) bool {
	return slices.ContainsFunc(updates, func(u []byte) bool { return bytes.Equal(u, raw) })
}
