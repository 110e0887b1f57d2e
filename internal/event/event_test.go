package event_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/event"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

var (
	day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	env = ingest.Envelope{Source: ingest.Source{Transport: ingest.BotAPI, Account: 42}, Origin: ingest.Live}
)

func message() content.Message {
	return content.Message{
		Key:  content.MessageKey{Scope: 42, ChatID: 1001, MessageID: 5},
		Kind: "text", Date: day, EditDate: day.Add(time.Minute), Text: "meet at the pier",
	}
}

func TestMessageCreatedIsTheSameFromEverySnapshot(t *testing.T) {
	t.Parallel()
	first, edited := message(), message()
	edited.Text, edited.EditDate = "meet at the station", day.Add(time.Hour)
	require.Equal(t, event.OfMessageCreated(&first, &env), event.OfMessageCreated(&edited, &env))
}

func TestMessageRevisedHasOneIDForEachContent(t *testing.T) {
	t.Parallel()
	m := message()
	one := event.OfMessageRevised(&m, content.ContentHash{1}, &env)
	require.Equal(t, one.ID, event.OfMessageRevised(&m, content.ContentHash{1}, &env).ID)
	require.NotEqual(t, one.ID, event.OfMessageRevised(&m, content.ContentHash{2}, &env).ID)
	require.NotEqual(t, one.ID, event.OfMessageCreated(&m, &env).ID)

	other := message()
	other.Key.Scope = 43
	require.NotEqual(t, one.ID, event.OfMessageRevised(&other, content.ContentHash{1}, &env).ID)
	require.Equal(t, m.EditDate, one.Time)
}

func TestEventsNameThingsAndQuoteNobody(t *testing.T) {
	t.Parallel()
	m := message()
	e := event.OfMessageRevised(&m, content.ContentHash{0xab}, &env)
	require.Equal(t, "messages/42/1001/5", e.Subject)
	require.JSONEq(t, `{"scope":42,"chat_id":1001,"message_id":5,"date":1795348800,
		"content_hash":"ab000000000000000000000000000000","origin":"live"}`, string(e.Data))
	text, err := json.Marshal(e)
	require.NoError(t, err)
	require.NotContains(t, string(text), "pier")
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, e.ID)
}
