package normalise_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// written stands for what people wrote: no error may repeat it.
const written = "meet me at the old boathouse"

// reader is a normaliser made of functions.
type reader struct {
	normalise func(ingest.Envelope) (content.ChangeSet, error)
	id        func([]byte) int64
}

func (r reader) Normalise(env ingest.Envelope) (content.ChangeSet, error) { return r.normalise(env) }

func (r reader) UpdateID(raw []byte) int64 { return r.id(raw) }

func noMap() map[string]int { return nil }

func noEnvelope() *ingest.Envelope { return nil }

func knows(id int64) func([]byte) int64 { return func([]byte) int64 { return id } }

var env = ingest.Envelope{Format: ingest.BotAPIJSON, Raw: []byte(written)}

func rejection(t *testing.T, r reader, env ingest.Envelope) *normalise.Rejected {
	t.Helper()
	cs, err := normalise.Set{ingest.BotAPIJSON: r}.Normalise(env)
	require.Zero(t, cs)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.NotContains(t, err.Error(), written)
	var rejected *normalise.Rejected
	require.ErrorAs(t, err, &rejected)
	return rejected
}

func TestTheFormatChoosesTheNormaliser(t *testing.T) {
	t.Parallel()
	want := content.ChangeSet{Update: content.Update{UpdateID: 7}}
	set := normalise.Set{ingest.BotAPIJSON: reader{normalise: func(got ingest.Envelope) (content.ChangeSet, error) {
		require.Equal(t, env, got)
		return want, nil
	}}}

	got, err := set.Normalise(env)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestAFormatThatNobodyReadsIsRejected(t *testing.T) {
	t.Parallel()
	rejected := rejection(t, reader{}, ingest.Envelope{Format: ingest.MTProtoTL, Raw: []byte(written)})
	require.Equal(t, &normalise.Rejected{Class: normalise.UnknownFormat, Reason: "no normaliser for format 2"}, rejected)
}

func TestARejectionPassesUnchanged(t *testing.T) {
	t.Parallel()
	want := &normalise.Rejected{Class: normalise.NotJSON, UpdateID: 7, Reason: "wrong syntax at offset 3"}
	got := rejection(t, reader{normalise: func(ingest.Envelope) (content.ChangeSet, error) {
		return content.ChangeSet{Update: content.Update{UpdateID: 7}}, want
	}}, env)
	require.Same(t, want, got)
	require.EqualError(t, got, "normalise: not_json: wrong syntax at offset 3")
}

func TestAForeignErrorIsToldByItsTypeAlone(t *testing.T) {
	t.Parallel()
	got := rejection(t, reader{id: knows(7), normalise: func(ingest.Envelope) (content.ChangeSet, error) {
		return content.ChangeSet{}, errors.New("cannot read " + written)
	}}, env)
	require.Equal(t, &normalise.Rejected{Class: normalise.Malformed, UpdateID: 7, Reason: "unexpected *errors.errorString"}, got)
}

func TestAPanicBecomesARejectionThatNamesUpdateAndPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause  func()
		reason string
	}{
		"with a text":        {func() { panic(written) }, `^string at normalise_test\.go:\d+$`},
		"with an error":      {func() { panic(errors.New(written)) }, `^\*errors\.errorString at normalise_test\.go:\d+$`},
		"of the runtime":     {func() { _ = []int{}[len(written)] }, `^runtime\.boundsError at normalise_test\.go:\d+$`},
		"of a nil map":       {func() { noMap()[written] = 1 }, `^runtime\.\w+ at normalise_test\.go:\d+$`},
		"of a nil reference": {func() { noEnvelope().Raw = nil }, `^runtime\.\w+ at normalise_test\.go:\d+$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := rejection(t, reader{id: knows(7), normalise: func(ingest.Envelope) (content.ChangeSet, error) {
				test.cause()
				return content.ChangeSet{}, nil
			}}, env)
			require.Equal(t, normalise.Panic, got.Class)
			require.Equal(t, int64(7), got.UpdateID)
			require.Regexp(t, test.reason, got.Reason)
		})
	}
}

func TestAPanicWhileTheIDIsReadLeavesItOut(t *testing.T) {
	t.Parallel()
	got := rejection(t, reader{
		id:        func([]byte) int64 { panic(written) },
		normalise: func(ingest.Envelope) (content.ChangeSet, error) { panic(written) },
	}, env)
	require.Equal(t, normalise.Panic, got.Class)
	require.Zero(t, got.UpdateID)
}
