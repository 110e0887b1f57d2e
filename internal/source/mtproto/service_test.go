package mtproto

import (
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// What Telegram itself wrote may stand in any chat's history.
func TestHistoryKeepsWhatTelegramItselfWroteSealed(t *testing.T) {
	t.Parallel()
	key, err := seal.Generate("test")
	require.NoError(t, err)
	ring, err := seal.ParseRing(key.Private())
	require.NoError(t, err)
	w := wrapper{source: ingest.Source{Transport: ingest.MTProto, Account: 7}, sealer: ring}
	secret := &tg.Message{ID: 2, PeerID: &tg.PeerChat{ChatID: 5}, FromID: &tg.PeerUser{UserID: content.TelegramItself}, Message: "Login code: 12345"}
	secret.SetFlags()
	messages := []tg.MessageClass{&tg.Message{ID: 3, PeerID: &tg.PeerChat{ChatID: 5}, Message: "hello"}, secret}
	for name, page := range map[string]tg.MessagesMessagesClass{
		"whole":   &tg.MessagesMessages{Messages: messages},
		"slice":   &tg.MessagesMessagesSlice{Count: 9, Messages: messages},
		"channel": &tg.MessagesChannelMessages{Count: 9, Messages: messages},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			envelopes, err := w.history(&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: 5}}, page, time.Unix(1_790_000_000, 0))
			require.NoError(t, err)
			require.Len(t, envelopes, 2)
			require.Equal(t, ingest.SealedTL, envelopes[0].Format)
			for _, e := range envelopes {
				require.NotContains(t, string(e.Raw), "12345")
				require.Equal(t, ingest.Backfill, e.Origin)
			}
			rest, err := tg.DecodeMessagesMessages(&bin.Buffer{Buf: envelopes[1].Raw})
			require.NoError(t, err)
			whole, ok := rest.AsModified()
			require.True(t, ok)
			require.Len(t, whole.GetMessages(), 1)
		})
	}
	plain, err := w.history(&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: 5}}, &tg.MessagesMessages{Messages: messages[:1]}, time.Unix(1_790_000_000, 0))
	require.NoError(t, err)
	require.Len(t, plain, 1)
	require.Len(t, messages, 2, "the page is left as it is")
}
