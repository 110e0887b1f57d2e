package listener_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// Nothing was ever posted in these channels: all that tells the pages of dialogs apart is the channels themselves.
func TestEveryChannelIsFollowedHoweverManyThereAre(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	const channels = 250
	for range channels {
		f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	}
	c := f.connect(anna)
	f.eventually(func() bool {
		_, known, err := f.db.UpdateStates().Load(t.Context(), c.ID)
		require.NoError(t, err)
		return known
	}, "the state is known")
	followed, err := f.db.UpdateStates().Channels(t.Context(), c.ID)
	require.NoError(t, err)
	require.Len(t, followed, channels)
}
