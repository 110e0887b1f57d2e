package content_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
)

func post() content.Message {
	return content.Message{
		Key:  content.MessageKey{ChatID: -1001, MessageID: 5},
		Kind: "photo",
		Date: noon,
		Text: "harbour at dawn",
		Entities: []content.Entity{
			{Type: "bold", Offset: 0, Length: 7},
			{Type: "italic", Offset: 0, Length: 7},
		},
		Media: []content.Media{{Kind: "photo", FileUniqueID: "AQAD", FileID: "AgAC"}},
	}
}

func TestContentHashChangesWithWhatAReaderSees(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*content.Message){
		"text":           func(m *content.Message) { m.Text = "harbour at dusk" },
		"kind":           func(m *content.Message) { m.Kind = "video" },
		"entity type":    func(m *content.Message) { m.Entities[0].Type = "code" },
		"entity place":   func(m *content.Message) { m.Entities[0].Offset = 1 },
		"entity link":    func(m *content.Message) { m.Entities[0].URL = "https://example.org" },
		"entity removed": func(m *content.Message) { m.Entities = m.Entities[:1] },
		"file":           func(m *content.Message) { m.Media[0].FileUniqueID = "AQAE" },
		"file removed":   func(m *content.Message) { m.Media = nil },
	}
	original := post()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := post()
			change(&m)
			require.NotEqual(t, original.ContentHash(), m.ContentHash())
		})
	}
}

func TestContentHashTellsMomentsApart(t *testing.T) {
	t.Parallel()
	moment := func(unixTime int64, format string) content.ContentHash {
		m := post()
		m.Entities[0] = content.Entity{Type: "date_time", Length: 7, UnixTime: unixTime, DateTimeFormat: format}
		return m.ContentHash()
	}
	require.NotEqual(t, moment(1789732800, "r"), moment(1789732801, "r"))
	require.NotEqual(t, moment(1789732800, "r"), moment(1789732800, "t"))
}

// Revisions are kept under the hash of their content.
func TestContentHashIsTheSameForEver(t *testing.T) {
	t.Parallel()
	m := post()
	require.Equal(t, "05b0d73c0760090124bf6acb6cba2466", fmt.Sprintf("%x", m.ContentHash()))
}

func TestContentHashIgnoresWhatOnlySomeSourcesSee(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*content.Message){
		"edit date":       func(m *content.Message) { m.EditDate = noon.Add(time.Hour) },
		"file of account": func(m *content.Message) { m.Media[0].FileID = "BQAC" },
		"file size":       func(m *content.Message) { m.Media[0].SizeBytes = 7 },
		"entities of one place in another order": func(m *content.Message) {
			m.Entities[0], m.Entities[1] = m.Entities[1], m.Entities[0]
		},
		"version": func(m *content.Message) { m.Version = "later" },
	}
	original := post()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := post()
			change(&m)
			require.Equal(t, original.ContentHash(), m.ContentHash())
		})
	}
}

func TestContentHashLeavesTheMessageAlone(t *testing.T) {
	t.Parallel()
	m := post()
	m.ContentHash()
	require.Equal(t, post(), m)
}

func TestScopeIsSharedOnlyWhereEveryAccountSeesTheSameIDs(t *testing.T) {
	t.Parallel()
	require.Equal(t, content.ScopeShared, content.ScopeOf(content.Supergroup, 42))
	require.Equal(t, content.ScopeShared, content.ScopeOf(content.Channel, 42))
	require.Equal(t, content.Scope(42), content.ScopeOf(content.Private, 42))
	require.Equal(t, content.Scope(42), content.ScopeOf(content.Group, 42))
}
