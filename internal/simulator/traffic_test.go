package simulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// town returns a server with bots that take every kind, and no one who takes their updates.
func town(t *testing.T, seed uint64, bots int) *simulator.Server {
	t.Helper()
	s := simulator.New(simulator.Config{Seed: seed, Record: true})
	f := &fixture{Server: s}
	kinds, err := json.Marshal(ingest.Kinds)
	require.NoError(t, err)
	for i := range bots {
		own := fmt.Sprintf("70000000%02d:test-token", i)
		_, err := s.AddBot(own, fmt.Sprintf("fleet%d_bot", i))
		require.NoError(t, err)
		if i > 0 {
			got := f.serve(t, getRequest(t, "/bot"+own+"/getUpdates?"+values("allowed_updates", string(kinds)).Encode()))
			require.True(t, got.OK)
		}
	}
	return s
}

func TestTrafficFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen [3][]string
		var happened [3][]ingest.Kind
		for i, seed := range []uint64{1, 1, 2} {
			s := town(t, seed, 3)
			require.NoError(t, s.Traffic(t.Context(), simulator.TrafficConfig{Limit: 500}))
			for _, u := range s.Oracle().Updates() {
				seen[i] = append(seen[i], string(u.Raw))
				happened[i] = append(happened[i], u.Kind)
			}
		}
		require.Equal(t, seen[0], seen[1])
		require.NotEqual(t, happened[0], happened[2])
	})
}

func TestTrafficStopsAtItsLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 7, 1234} {
		s := town(t, 3, 2)
		require.NoError(t, s.Traffic(t.Context(), simulator.TrafficConfig{Limit: limit, Burst: 50}))
		require.Equal(t, limit, s.Oracle().Counts().Posted)
		require.NoError(t, s.Traffic(t.Context(), simulator.TrafficConfig{Limit: limit}))
		require.Equal(t, 2*limit, s.Oracle().Counts().Posted, "and starts again when it is asked to")
	}
	require.Error(t, simulator.New(simulator.Config{}).Traffic(t.Context(), simulator.TrafficConfig{Limit: 1}), "nobody to talk to")
}

func TestTrafficKeepsItsRateAndHasBursts(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{0, 40} {
		synctest.Test(t, func(t *testing.T) {
			s := town(t, 4, 3)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			require.NoError(t, s.Traffic(ctx, simulator.TrafficConfig{Rate: 20, Burst: burst}))
			counts := s.Oracle().Counts()
			require.InDelta(t, 20*180, counts.Posted+counts.Filtered, 700)

			most, at := 0, map[time.Time]int{}
			for _, u := range s.Oracle().Updates() {
				at[u.PostedAt]++
				most = max(most, at[u.PostedAt])
			}
			require.Equal(t, burst > 0, most > 25, "most at one moment: %d", most)
		})
	}
}

// view is what the tests read of a message.
type view struct {
	ID         int64 `json:"message_id"`
	From       *struct{ ID int64 }
	SenderChat *struct{ ID int64 } `json:"sender_chat"`
	Signature  string              `json:"author_signature"`
	Chat       struct {
		ID      int64
		Type    string
		IsForum bool `json:"is_forum"`
	}
	Date      int64
	EditDate  int64                  `json:"edit_date"`
	Origin    *struct{ Type string } `json:"forward_origin"`
	Automatic bool                   `json:"is_automatic_forward"`
	Topic     bool                   `json:"is_topic_message"`
	Thread    int64                  `json:"message_thread_id"`
	ReplyTo   *view                  `json:"reply_to_message"`
	Quote     *struct {
		Text     string
		Position int
	}
	Album     string `json:"media_group_id"`
	Text      string
	Caption   string
	Entities  []span
	Captioned []span `json:"caption_entities"`
	Photo     []struct {
		Width  int
		FileID string `json:"file_id"`
		Unique string `json:"file_unique_id"`
	}
	Document *struct {
		Size int64 `json:"file_size"`
	}
	Animation  *struct{}
	MigrateTo  int64           `json:"migrate_to_chat_id"`
	MigrateOld int64           `json:"migrate_from_chat_id"`
	Keyboard   json.RawMessage `json:"reply_markup"`
}

type span struct {
	Type           string
	Offset, Length int
}

// seen is one update of the traffic, and what can be read of it when it is a message or an edit.
type seen struct {
	simulator.Update
	m view
}

func (u seen) isMessage() bool { return u.Kind == "message" || u.Kind == "channel_post" }

func (u seen) isEdit() bool { return u.Kind == "edited_message" || u.Kind == "edited_channel_post" }

// lived returns a lot of traffic.
func lived(t *testing.T) []seen {
	t.Helper()
	s := town(t, 5, 4)
	require.NoError(t, s.Traffic(t.Context(), simulator.TrafficConfig{Limit: 8_000}))
	var updates []seen
	for _, u := range s.Oracle().Updates() {
		if u.ID == 0 {
			continue
		}
		var read map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(u.Raw, &read))
		require.Len(t, read, 2, "an update has its id and its kind")
		one := seen{Update: u}
		if one.isMessage() || one.isEdit() {
			require.NoError(t, json.Unmarshal(read[string(u.Kind)], &one.m))
		}
		updates = append(updates, one)
	}
	return updates
}

func TestTrafficIsLifelike(t *testing.T) {
	t.Parallel()
	updates := lived(t)

	t.Run("kinds", func(t *testing.T) {
		t.Parallel()
		seen := map[ingest.Kind]int{}
		for _, u := range updates {
			seen[u.Kind]++
		}
		for _, kind := range []ingest.Kind{
			"message", "edited_message", "channel_post", "edited_channel_post", "callback_query", "inline_query", "chosen_inline_result",
			"my_chat_member", "chat_member", "message_reaction", "message_reaction_count", "poll", "poll_answer", "message_from_the_future",
		} {
			require.Greater(t, seen[kind], 10, kind)
		}
		require.Greater(t, seen["message"], len(updates)/2)
	})

	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		total := 0
		var nul, lone int
		for _, u := range updates {
			total += len(u.Raw)
			beyond := bytes.IndexFunc(u.Raw, func(r rune) bool { return r >= utf8.RuneSelf })
			require.Equal(t, -1, beyond, "everything beyond ASCII is escaped")
			if bytes.Contains(u.Raw, []byte(`\u0000`)) {
				nul++
			}
			if bytes.Contains(u.Raw, []byte(`\ud83d.`)) {
				lone++
			}
		}
		require.InDelta(t, 1000, total/len(updates), 400)
		require.Positive(t, nul)
		require.Positive(t, lone)
	})

	t.Run("update ids", func(t *testing.T) {
		t.Parallel()
		last := map[int64]int64{}
		for _, u := range updates {
			if before, known := last[int64(u.BotID)]; known {
				require.Equal(t, before+1, u.ID)
			}
			last[int64(u.BotID)] = u.ID
		}
		require.Len(t, last, 4)
	})

	t.Run("message ids", func(t *testing.T) {
		t.Parallel()
		type key struct{ scope, chat, message int64 }
		seen := map[key]int{}
		shared := 0
		for _, u := range updates {
			if !u.isMessage() {
				continue
			}
			m := u.m
			k := key{0, m.Chat.ID, m.ID}
			if m.Chat.Type == "private" || m.Chat.Type == "group" {
				k = key{int64(u.BotID), 0, m.ID}
				require.Zero(t, seen[k], "the account's ids are its own in all of its chats")
			}
			seen[k]++
			if seen[k] > 1 {
				shared++
			}
			require.LessOrEqual(t, seen[k], 2)
			require.Equal(t, m.Chat.ID <= -1_000_000_000_000, m.Chat.Type == "supergroup" || m.Chat.Type == "channel")
			require.Equal(t, m.Chat.ID > 0, m.Chat.Type == "private")
		}
		require.Positive(t, shared, "two bots see one supergroup's message under one id")
	})

	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		count := map[string]int{}
		albums := map[string]map[int64]int{}
		for _, u := range updates {
			if u.Kind != "message" {
				continue
			}
			m := u.m
			for what, is := range map[string]bool{
				"private": m.Chat.Type == "private", "group": m.Chat.Type == "group", "supergroup": m.Chat.Type == "supergroup",
				"topic": m.Topic && m.Thread > 0 && m.Chat.IsForum, "reply": m.ReplyTo != nil && m.ReplyTo.Chat.ID == m.Chat.ID,
				"anonymous": m.SenderChat != nil && !m.Automatic, "automatic forward": m.Automatic && m.Origin.Type == "channel",
				"large file": m.Document != nil && m.Document.Size > 1<<31, "animation": m.Animation != nil && m.Document != nil,
				"photo out of order": len(m.Photo) == 4 && m.Photo[3].Width < m.Photo[2].Width, "migrated": m.MigrateTo != 0,
				"migrated here": m.MigrateOld != 0, "keyboard": m.Keyboard != nil, "caption": m.Caption != "",
			} {
				if is {
					count[what]++
				} else {
					count[what] += 0
				}
			}
			if m.Origin != nil {
				count["forward from "+m.Origin.Type]++
			}
			if m.Quote != nil && m.ReplyTo != nil && m.ReplyTo.EditDate == 0 {
				count["quote"]++
				require.Equal(t, m.Quote.Text, cut(m.ReplyTo.Text, m.Quote.Position, len(utf16.Encode([]rune(m.Quote.Text)))))
			}
			if m.Album != "" {
				if albums[m.Album] == nil {
					albums[m.Album] = map[int64]int{}
				}
				albums[m.Album][m.Chat.ID]++
			}
			for _, e := range m.Entities {
				requireWithin(t, e, m.Text)
			}
			for _, e := range m.Captioned {
				requireWithin(t, e, m.Caption)
			}
		}
		for _, origin := range []string{"user", "hidden_user", "chat", "channel"} {
			count["forward from "+origin] += 0
		}
		for _, chats := range albums {
			if len(chats) > 1 {
				count["album in two chats"]++
			}
		}
		count["albums"] = len(albums)
		count["quote"] += 0
		for what, n := range count {
			require.Positive(t, n, what)
		}
		require.Positive(t, count["album in two chats"])
	})

	t.Run("channel posts", func(t *testing.T) {
		t.Parallel()
		signed, posts := 0, 0
		for _, u := range updates {
			if u.Kind != "channel_post" {
				continue
			}
			posts++
			m := u.m
			require.Equal(t, m.Chat.ID, m.SenderChat.ID)
			require.Nil(t, m.From)
			if m.Signature != "" {
				signed++
			}
		}
		require.Positive(t, signed)
		require.Less(t, signed, posts)
	})

	t.Run("edits", func(t *testing.T) {
		t.Parallel()
		type key struct{ bot, chat, message int64 }
		latest := map[key]view{}
		words, keyboards, nothing := 0, 0, 0
		for _, u := range updates {
			if !u.isMessage() && !u.isEdit() {
				continue
			}
			m := u.m
			k := key{int64(u.BotID), m.Chat.ID, m.ID}
			before, known := latest[k]
			latest[k] = m
			if m.EditDate == 0 {
				continue
			}
			require.True(t, known, "what is edited was said before")
			require.Equal(t, before.Date, m.Date)
			require.GreaterOrEqual(t, m.EditDate, m.Date)
			switch {
			case before.Text != m.Text || before.Caption != m.Caption:
				words++
			case !bytes.Equal(before.Keyboard, m.Keyboard):
				keyboards++
			default:
				nothing++
			}
		}
		require.Positive(t, words)
		require.Positive(t, keyboards, "some edits change the buttons alone")
		require.Positive(t, nothing, "and some change the edit_date alone")
	})

	t.Run("files", func(t *testing.T) {
		t.Parallel()
		ids := map[string]map[string]bool{}
		owner := map[string]int64{}
		for _, u := range updates {
			for _, size := range u.m.Photo {
				if ids[size.Unique] == nil {
					ids[size.Unique] = map[string]bool{}
				}
				ids[size.Unique][size.FileID] = true
				if bot, known := owner[size.FileID]; known {
					require.EqualValues(t, bot, u.BotID, "a file_id belongs to one bot")
				}
				owner[size.FileID] = int64(u.BotID)
			}
		}
		several := 0
		for _, perBot := range ids {
			if len(perBot) > 1 {
				several++
			}
		}
		require.Positive(t, several, "a file_unique_id is the same for all")
	})
}

// cut returns length UTF-16 code units of text from offset on.
func cut(text string, offset, length int) string {
	units := utf16.Encode([]rune(text))
	if offset+length > len(units) {
		return ""
	}
	return string(utf16.Decode(units[offset : offset+length]))
}

// entityWords are what some entities must cover, to prove that their places count UTF-16 code units.
var entityWords = map[string]string{
	"bold": "important", "hashtag": "#продам", "spoiler": "he dies at the end 💀", "custom_emoji": "🔥", "mention": "@durov",
}

func requireWithin(t *testing.T, e span, text string) {
	t.Helper()
	covered := cut(text, e.Offset, e.Length)
	require.NotEmpty(t, covered, "%+v lies within the text", e)
	if words, fixed := entityWords[e.Type]; fixed {
		require.Equal(t, words, covered)
	}
}
