package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/store/storetest"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	eachDatabase(t, storetest.Messages)
}

func TestMessagesAreFoundByAnIndexInItsOrder(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, open func(t *testing.T) *store.DB) {
		plans, err := open(t).ExplainMessages(t.Context())
		require.NoError(t, err)
		for name, plan := range plans {
			index := "messages_chat_date"
			if name == "album" {
				index = "messages_media_group"
			}
			require.Contains(t, plan, index, name)
		}
	})
}
