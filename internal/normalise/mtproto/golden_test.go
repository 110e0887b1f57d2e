package mtproto_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	record = flag.Bool("record", false, "write the containers that have no file yet")
)

// TestRecordedContainersDecodeForEver reads testdata/*.tl and compares with the golden change sets. A recorded container is never written
// anew: what a ledger holds stays readable, whatever layer this program speaks.
func TestRecordedContainersDecodeForEver(t *testing.T) {
	t.Parallel()
	if *record {
		for name, env := range containers(t) {
			file := filepath.Join("testdata", name+".tl")
			if _, err := os.Stat(file); err != nil {
				require.NoError(t, os.WriteFile(file, recorded(env), 0o600))
			}
		}
	}
	files, err := filepath.Glob("testdata/*.tl")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), len(containers(t)))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".tl"), func(t *testing.T) {
			t.Parallel()
			cs, err := mtproto.New().Normalise(replayed(t, file))
			require.NoError(t, err)
			golden := strings.TrimSuffix(file, ".tl") + ".golden"
			got := render(t, cs)
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o600))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run the test with -update")
			require.Equal(t, string(want), string(got))
		})
	}
}

// containers are one or more of each kind of object that brings updates.
func containers(t testing.TB) map[string]ingest.Envelope {
	t.Helper()
	reactions := tg.MessageReactions{Results: []tg.ReactionCount{{Reaction: &tg.ReactionEmoji{Emoticon: "👍"}, Count: 3}}}
	rich := post(func(m *tg.Message) {
		m.Message, m.Media, m.GroupedID, m.EditDate = "look at this #garden", photoMedia(), 13_000_000_000_000_001, sent+60
		m.Entities = []tg.MessageEntityClass{&tg.MessageEntityBold{Length: 4}, &tg.MessageEntityHashtag{Offset: 13, Length: 7}}
		m.SetReactions(reactions)
	})
	tooLong := &tg.UpdateChannelTooLong{ChannelID: channel}
	tooLong.SetPts(500)
	joined := &tg.UpdateChannelParticipant{ChannelID: channel, Date: sent, ActorID: 78, UserID: 77, Qts: 3}
	joined.SetNewParticipant(&tg.ChannelParticipant{UserID: 77, Date: sent})
	dialog := &tg.Dialog{Peer: &tg.PeerChannel{ChannelID: channel}, TopMessage: 42, NotifySettings: tg.PeerNotifySettings{}}
	dialog.SetPts(800)
	users, chats := []tg.UserClass{fullUser()}, []tg.ChatClass{fullChannel()}
	state := tg.UpdatesState{Pts: 8, Date: sent + 100, Seq: 2}
	account := &tg.UpdatesGetDifferenceRequest{Pts: 7, Date: sent}
	history := &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChannel{ChannelID: channel}, Limit: 100}
	private := inPrivate(5, func(*tg.Message) {})
	return map[string]ingest.Envelope{
		"updates": push(t, withPeers(users, chats, newPost(rich), &tg.UpdateDeleteChannelMessages{ChannelID: channel, Messages: []int{7}, Pts: 101},
			&tg.UpdateDeleteMessages{Messages: []int{9}, Pts: 6, PtsCount: 1}, tooLong, joined,
			&tg.UpdateMessageReactions{Peer: &tg.PeerChannel{ChannelID: channel}, MsgID: 42, Reactions: reactions})),
		"updates_combined": push(t, &tg.UpdatesCombined{
			Updates: []tg.UpdateClass{&tg.UpdateEditChannelMessage{Message: rich, Pts: 102, PtsCount: 1}}, Chats: chats, Date: sent + 61, SeqStart: 3, Seq: 4,
		}),
		"update_short":              push(t, &tg.UpdateShort{Update: tooLong, Date: sent}),
		"update_short_message":      push(t, &tg.UpdateShortMessage{ID: 5, UserID: 77, Message: "hello", Pts: 9, PtsCount: 1, Date: sent}),
		"update_short_chat_message": push(t, &tg.UpdateShortChatMessage{ID: 6, FromID: 77, ChatID: group, Message: "hello", Pts: 10, Date: sent}),
		"update_short_sent_message": push(t, &tg.UpdateShortSentMessage{ID: 7, Pts: 11, PtsCount: 1, Date: sent}),
		"updates_too_long":          push(t, &tg.UpdatesTooLong{}),
		"a_poll":                    push(t, updates(newPost(withMedia(poll(), "")))),
		"a_service_message":         push(t, updates(newPost(happened(&tg.MessageActionChatAddUser{Users: []int64{77}})))),

		"difference": answer(t, ingest.Difference, account, &tg.UpdatesDifference{
			NewMessages: []tg.MessageClass{private}, OtherUpdates: []tg.UpdateClass{&tg.UpdateDeleteMessages{Messages: []int{4}, Pts: 8}}, Users: users, State: state,
		}),
		"difference_slice": answer(t, ingest.Difference, account, &tg.UpdatesDifferenceSlice{
			NewMessages: []tg.MessageClass{private}, Users: users, IntermediateState: state,
		}),
		"difference_empty":    answer(t, ingest.Difference, account, &tg.UpdatesDifferenceEmpty{Date: sent, Seq: 6}),
		"difference_too_long": answer(t, ingest.Difference, account, &tg.UpdatesDifferenceTooLong{Pts: 900}),
		"channel_difference": answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifference{
			Final: true, Pts: 120, NewMessages: []tg.MessageClass{rich}, Chats: chats,
			OtherUpdates: []tg.UpdateClass{&tg.UpdateEditChannelMessage{Message: text("edited"), Pts: 119, PtsCount: 1}},
		}),
		"channel_difference_empty": answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: 90}),
		"channel_difference_too_long": answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifferenceTooLong{
			Dialog: dialog, Messages: []tg.MessageClass{rich}, Chats: chats,
		}),
		"history_of_a_channel": answer(t, ingest.Backfill, history, &tg.MessagesChannelMessages{
			Pts: 120, Count: 2, Messages: []tg.MessageClass{rich, &tg.MessageEmpty{ID: 41}}, Chats: chats, Users: users,
		}),
		"history": answer(t, ingest.Backfill, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerUser{UserID: 77}, Limit: 100},
			&tg.MessagesMessages{Messages: []tg.MessageClass{private}, Users: users}),
		"history_slice": answer(t, ingest.Backfill, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerUser{UserID: 77}, Limit: 100},
			&tg.MessagesMessagesSlice{Count: 500, Messages: []tg.MessageClass{private}, Users: users}),
		"history_not_modified": answer(t, ingest.Backfill, history, &tg.MessagesMessagesNotModified{Count: 5}),
	}
}

// recorded writes env as a text file: a line that names it, a line with its request, and its bytes.
func recorded(env ingest.Envelope) []byte {
	return fmt.Appendf(nil, "layer %d account %d origin %d\n%s\n%s\n", env.Layer, env.Source.Account, env.Origin,
		base64.StdEncoding.EncodeToString(env.Request), base64.StdEncoding.EncodeToString(env.Raw))
}

// replayed reads what recorded wrote.
func replayed(t testing.TB, file string) ingest.Envelope {
	t.Helper()
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(string(written), "\n")
	require.Len(t, lines, 4)
	env := ingest.Envelope{Source: ingest.Source{Transport: ingest.MTProto}, ReceivedAt: receivedAt, Format: ingest.MTProtoTL}
	_, err = fmt.Sscanf(lines[0], "layer %d account %d origin %d", &env.Layer, &env.Source.Account, &env.Origin)
	require.NoError(t, err)
	env.Request, err = base64.StdEncoding.DecodeString(lines[1])
	require.NoError(t, err)
	env.Raw, err = base64.StdEncoding.DecodeString(lines[2])
	require.NoError(t, err)
	return env
}

// render writes cs for people: without the envelope and the normaliser's version, and with versions in hex.
func render(t testing.TB, cs content.ChangeSet) []byte {
	t.Helper()
	cs.Update.Envelope = ingest.Envelope{}
	cs.Update.NormaliserVersion = 0
	for i := range cs.Messages {
		cs.Messages[i].NormaliserVersion = 0
	}
	spellVersions(reflect.ValueOf(&cs).Elem())
	text, err := json.MarshalIndent(cs, "", "\t")
	require.NoError(t, err)
	return append(text, '\n')
}

func spellVersions(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				spellVersions(field)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			spellVersions(v.Index(i))
		}
	case reflect.String:
		if version, is := reflect.TypeAssert[content.Version](v); is {
			v.SetString(hex.EncodeToString([]byte(version.Snapshot())))
		}
	}
}
