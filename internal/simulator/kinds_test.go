package simulator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

func TestEveryKindOfTheBotAPIHasARule(t *testing.T) {
	t.Parallel()
	for _, kind := range ingest.Kinds {
		rule, known := kindRules[kind]
		require.True(t, known, kind)
		require.NotEmpty(t, rule.family, kind)
	}
	require.Len(t, kindRules, len(ingest.Kinds)+2, "the Bot API's, and the two that only the open-source server knows")
}
