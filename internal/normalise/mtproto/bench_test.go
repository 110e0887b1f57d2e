package mtproto_test

import (
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

// BenchmarkNormalise reads a channel's post with a photo, entities, a user and the channel, whole and with the decoder alone.
func BenchmarkNormalise(b *testing.B) {
	m := post(func(m *tg.Message) {
		m.Media, m.PostAuthor = photoMedia(), "Marisol"
		m.Message = "Two water butts to give away, see https://example.org/butts for the sizes. Bring a trailer, they are heavier than they look."
		m.Entities = []tg.MessageEntityClass{
			&tg.MessageEntityBold{Length: 15}, &tg.MessageEntityURL{Offset: 34, Length: 25}, &tg.MessageEntityItalic{Offset: 75, Length: 16},
		}
	})
	env := push(b, withPeers([]tg.UserClass{fullUser()}, []tg.ChatClass{fullChannel()}, newPost(m)))
	n := mtproto.New()
	_, err := n.Normalise(env)
	require.NoError(b, err)

	b.Run("whole", func(b *testing.B) {
		b.SetBytes(int64(len(env.Raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := n.Normalise(env); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.SetBytes(int64(len(env.Raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tg.DecodeUpdates(&bin.Buffer{Buf: env.Raw}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
