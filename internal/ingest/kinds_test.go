package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

func TestKindsAreAllThatTelegramHasEachOnce(t *testing.T) {
	t.Parallel()
	seen := map[ingest.Kind]bool{}
	for _, kind := range ingest.Kinds {
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, kind)
		require.False(t, seen[kind], kind)
		seen[kind] = true
	}
	require.Len(t, seen, 27)
	for _, left := range []ingest.Kind{"chat_member", "message_reaction", "message_reaction_count"} {
		require.True(t, seen[left], "%s comes only to those who ask for it", left)
	}
	require.False(t, seen[ingest.KindUnknown])
}
