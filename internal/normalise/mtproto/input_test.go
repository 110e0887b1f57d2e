package mtproto_test

import (
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

const (
	account = 5550100
	other   = 5550200
	channel = 1894420716
	group   = 4321
	sent    = 1789345201
)

var receivedAt = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// chatID returns the Bot API's id of the channel.
func chatID(id int64) content.ChatID { return content.ChatID(-1_000_000_000_000 - id) }

func encoded(t testing.TB, object bin.Encoder) []byte {
	t.Helper()
	var b bin.Buffer
	require.NoError(t, object.Encode(&b))
	return b.Buf
}

// pushTo returns the envelope of what was pushed to an account.
func pushTo(t testing.TB, account int64, object bin.Encoder) ingest.Envelope {
	t.Helper()
	return ingest.Envelope{
		Source: ingest.Source{Transport: ingest.MTProto, Account: account}, ReceivedAt: receivedAt, Origin: ingest.Live,
		Format: ingest.MTProtoTL, Layer: tg.Layer, Raw: encoded(t, object),
	}
}

func push(t testing.TB, object bin.Encoder) ingest.Envelope {
	t.Helper()
	return pushTo(t, account, object)
}

// answer returns the envelope of what answered request.
func answer(t testing.TB, origin ingest.Origin, request, object bin.Encoder) ingest.Envelope {
	t.Helper()
	env := push(t, object)
	env.Origin, env.Request = origin, encoded(t, request)
	return env
}

func normalised(t testing.TB, env ingest.Envelope) content.ChangeSet {
	t.Helper()
	cs, err := mtproto.New().Normalise(env)
	require.NoError(t, err)
	return cs
}

// fromBot returns what the normaliser of the Bot API makes of an update.
func fromBot(t testing.TB, update string) content.ChangeSet {
	t.Helper()
	cs, err := botapi.New().Normalise(ingest.Envelope{
		Source: ingest.Source{Transport: ingest.BotAPI, Account: 7000000001}, ReceivedAt: receivedAt, Origin: ingest.Live,
		Format: ingest.BotAPIJSON, Raw: []byte(update),
	})
	require.NoError(t, err)
	return cs
}

// one returns the only message of cs.
func one(t testing.TB, cs content.ChangeSet) content.Message {
	t.Helper()
	require.Len(t, cs.Messages, 1)
	return cs.Messages[0]
}

// post returns a post of the channel.
func post(change func(*tg.Message)) *tg.Message {
	m := &tg.Message{ID: 42, PeerID: &tg.PeerChannel{ChannelID: channel}, Date: sent, Post: true}
	change(m)
	m.SetFlags()
	return m
}

// said returns a message of a user in the supergroup.
func said(change func(*tg.Message)) *tg.Message {
	return post(func(m *tg.Message) {
		m.Post, m.FromID = false, &tg.PeerUser{UserID: 5839201744}
		change(m)
	})
}

func happened(action tg.MessageActionClass) *tg.MessageService {
	return &tg.MessageService{
		ID: 42, PeerID: &tg.PeerChannel{ChannelID: channel}, FromID: &tg.PeerUser{UserID: 5839201744}, Date: sent, Action: action,
	}
}

func updates(list ...tg.UpdateClass) *tg.Updates { return &tg.Updates{Updates: list, Date: sent + 1} }

func newPost(m tg.MessageClass) *tg.UpdateNewChannelMessage {
	return &tg.UpdateNewChannelMessage{Message: m, Pts: 100, PtsCount: 1}
}

func photo() *tg.Photo {
	return &tg.Photo{ID: 0x4598fdce1b31ae4e, AccessHash: 1, FileReference: []byte{1}, Date: sent, DCID: 4, Sizes: []tg.PhotoSizeClass{
		&tg.PhotoStrippedSize{Type: "i", Bytes: []byte{1, 2, 3}},
		&tg.PhotoCachedSize{Type: "w", W: 9000, H: 9000, Bytes: []byte{1}},
		&tg.PhotoSizeProgressive{Type: "y", W: 1280, H: 960, Sizes: []int{1000, 200_000, 30_000}},
		&tg.PhotoSize{Type: "x", W: 800, H: 600, Size: 90_000},
		&tg.PhotoSize{Type: "m", W: 320, H: 240, Size: 20_000},
	}}
}

func document(mime string, attributes ...tg.DocumentAttributeClass) *tg.MessageMediaDocument {
	m := &tg.MessageMediaDocument{}
	m.SetDocument(&tg.Document{
		ID: 0x4588b77500000258, AccessHash: 1, FileReference: []byte{1}, Date: sent, MimeType: mime, Size: 12266, DCID: 1, Attributes: attributes,
	})
	return m
}

func photoMedia() *tg.MessageMediaPhoto {
	m := &tg.MessageMediaPhoto{}
	m.SetPhoto(photo())
	return m
}
