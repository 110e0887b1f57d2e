package datacentre_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// texts are n texts, each with its number from 1 on.
func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("post %d", i+1)
	}
	return all
}

func peerOf(c *datacentre.Chat, a *datacentre.Account) tg.InputPeerClass {
	if c.Kind == datacentre.Private {
		return &tg.InputPeerUser{UserID: c.ID, AccessHash: a.AccessHash(c.ID)}
	}
	return &tg.InputPeerChannel{ChannelID: c.ID, AccessHash: a.AccessHash(c.ID)}
}

// ids returns the ids of an answer's messages, in its order.
func ids(t *testing.T, answer tg.MessagesMessagesClass) []int {
	t.Helper()
	modified, ok := answer.AsModified()
	require.True(t, ok)
	all := []int{}
	for _, m := range modified.GetMessages() {
		all = append(all, m.GetID())
	}
	return all
}

// down are the numbers from a down to b.
func down(a, b int) []int {
	all := []int{}
	for ; a >= b; a-- {
		all = append(all, a)
	}
	return all
}

// asking lets a bot that has signed in do something.
func asking(t *testing.T, s *datacentre.Server, do func(ctx context.Context, api *tg.Client) error) {
	t.Helper()
	run(t, s, signedIn(t, s), func(ctx context.Context, c *telegram.Client) error { return do(ctx, c.API()) })
}

func TestHistoryIsPagedAsTelegramPagesIt(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	chat := s.AddChat(datacentre.Channel, "Main Channel", bot)
	laid := s.Lay(chat, texts(250)...)
	s.Delete(chat, 245)
	s.Edit(chat, 249, "corrected")
	for name, c := range map[string]struct {
		ask  tg.MessagesGetHistoryRequest
		want []int
	}{
		"newest first, without the deleted": {tg.MessagesGetHistoryRequest{Limit: 7}, []int{250, 249, 248, 247, 246, 244, 243}},
		"a hundred at most":                 {tg.MessagesGetHistoryRequest{OffsetID: 201, Limit: 1000}, down(200, 101)},
		"nothing asked for":                 {tg.MessagesGetHistoryRequest{}, []int{}},
		"older than offset_id":              {tg.MessagesGetHistoryRequest{OffsetID: 4, Limit: 100}, down(3, 1)},
		"older than the oldest":             {tg.MessagesGetHistoryRequest{OffsetID: 1, Limit: 100}, []int{}},
		"older than offset_date":            {tg.MessagesGetHistoryRequest{OffsetDate: laid[9].Date, Limit: 3}, down(9, 7)},
		"add_offset skips":                  {tg.MessagesGetHistoryRequest{OffsetID: 101, AddOffset: 10, Limit: 3}, down(90, 88)},
		"add_offset goes back":              {tg.MessagesGetHistoryRequest{OffsetID: 101, AddOffset: -3, Limit: 3}, down(103, 101)},
		"add_offset goes past the newest":   {tg.MessagesGetHistoryRequest{OffsetID: 250, AddOffset: -5, Limit: 6}, []int{250, 249}},
		"below max_id":                      {tg.MessagesGetHistoryRequest{OffsetID: 101, MaxID: 99, Limit: 4}, down(98, 97)},
		"above min_id":                      {tg.MessagesGetHistoryRequest{OffsetID: 101, MinID: 98, Limit: 4}, down(100, 99)},
	} {
		t.Run(name, func(t *testing.T) {
			c.ask.Peer = peerOf(chat, bot)
			var got tg.MessagesMessagesClass
			asking(t, s, func(ctx context.Context, api *tg.Client) (err error) {
				got, err = api.MessagesGetHistory(ctx, &c.ask)
				return err
			})
			require.Equal(t, c.want, ids(t, got))
			page, ok := got.(*tg.MessagesChannelMessages)
			require.True(t, ok, "%T", got)
			require.Equal(t, 249, page.Count)
			require.Equal(t, 1+250+2, page.Pts, "each message, edit and deletion has its place")
			require.Len(t, page.Chats, 1)
			for _, m := range page.Messages {
				m, ok := m.(*tg.Message)
				require.True(t, ok)
				want := fmt.Sprintf("post %d", m.ID)
				if m.ID == 249 {
					want = "corrected"
				}
				require.Equal(t, want, m.Message)
			}
		})
	}
}

func TestPrivateHistoryIsOfOneChat(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	anna, other := s.AddPrivate(bot, "Anna"), s.AddPrivate(bot, "Other")
	s.Lay(anna, texts(2)...)
	s.Lay(other, texts(2)...)
	s.Lay(anna, texts(1)...)
	var all, some tg.MessagesMessagesClass
	asking(t, s, func(ctx context.Context, api *tg.Client) (err error) {
		if all, err = api.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: peerOf(anna, bot), Limit: 10}); err != nil {
			return err
		}
		some, err = api.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: peerOf(anna, bot), Limit: 2})
		return err
	})
	require.Equal(t, []int{5, 2, 1}, ids(t, all))
	require.IsType(t, &tg.MessagesMessages{}, all)
	require.Equal(t, []int{5, 2}, ids(t, some))
	slice, ok := some.(*tg.MessagesMessagesSlice)
	require.True(t, ok, "%T", some)
	require.Equal(t, 3, slice.Count)
	require.Len(t, slice.Users, 1)
}

func TestHistoryThatIsNotTheAccountsIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	other := s.AddAccount(datacentre.Account{FirstName: "other", Token: "43:abc"})
	open := s.AddChat(datacentre.Channel, "Main Channel", bot, other)
	closed := s.AddChat(datacentre.Channel, "Closed", other)
	banned := s.AddChat(datacentre.Supergroup, "Banned", bot)
	s.Forbid(banned, bot, "CHANNEL_INVALID")
	anna := s.AddPrivate(bot, "Anna")
	for name, c := range map[string]struct {
		peer tg.InputPeerClass
		want string
	}{
		"the hash of another account":   {peerOf(open, other), "PEER_ID_INVALID"},
		"a person without their hash":   {&tg.InputPeerUser{UserID: anna.ID}, "PEER_ID_INVALID"},
		"a channel that does not exist": {&tg.InputPeerChannel{ChannelID: 1, AccessHash: bot.AccessHash(1)}, "PEER_ID_INVALID"},
		"a channel that it is not in":   {peerOf(closed, bot), "CHANNEL_PRIVATE"},
		"a channel that is forbidden":   {peerOf(banned, bot), "CHANNEL_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			var history, dialogs error
			asking(t, s, func(ctx context.Context, api *tg.Client) error {
				_, history = api.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: c.peer, Limit: 1})
				_, dialogs = api.MessagesGetPeerDialogs(ctx, []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: c.peer}})
				return nil
			})
			require.True(t, tgerr.Is(history, c.want), "%v", history)
			require.True(t, tgerr.Is(dialogs, c.want), "%v", dialogs)
		})
	}
}

func TestAnAccountThatJoinsSeesWhatWasLaidBefore(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	chat := s.AddChat(datacentre.Channel, "Main Channel")
	s.Lay(chat, texts(3)...)
	s.Join(chat, bot)
	var got tg.MessagesMessagesClass
	var dialogs *tg.MessagesPeerDialogs
	asking(t, s, func(ctx context.Context, api *tg.Client) (err error) {
		if got, err = api.MessagesGetHistory(ctx, &tg.MessagesGetHistoryRequest{Peer: peerOf(chat, bot), Limit: 10}); err != nil {
			return err
		}
		dialogs, err = api.MessagesGetPeerDialogs(ctx, []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: peerOf(chat, bot)}})
		return err
	})
	require.Equal(t, []int{3, 2, 1}, ids(t, got))
	require.Len(t, dialogs.Dialogs, 1)
	d, ok := dialogs.Dialogs[0].(*tg.Dialog)
	require.True(t, ok)
	pts, ok := d.GetPts()
	require.True(t, ok)
	require.Equal(t, 4, pts)
	require.Equal(t, 3, d.TopMessage)
	require.Len(t, dialogs.Messages, 1)
	require.Len(t, dialogs.Chats, 1)
}

// takeout is a client whose calls are all in one takeout.
func takeout(api *tg.Client, id int64) *tg.Client { return tg.NewClient(wrapping{api.Invoker(), id}) }

type wrapping struct {
	tg.Invoker
	takeout int64
}

// Invoke implements tg.Invoker.
func (w wrapping) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	query, ok := in.(bin.Object)
	if !ok {
		return fmt.Errorf("%T is no object", in)
	}
	return w.Invoker.Invoke(ctx, &tg.InvokeWithTakeoutRequest{TakeoutID: w.takeout, Query: query}, out)
}

func TestHistoryHasARateLimitThatATakeoutWidens(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{HistoryLimit: datacentre.Rate{Calls: 2, Window: time.Hour}})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	chat := s.AddChat(datacentre.Channel, "Main Channel", bot)
	s.Lay(chat, texts(3)...)
	var plain, wrapped []error
	var early int
	asking(t, s, func(ctx context.Context, api *tg.Client) error {
		begun, err := api.AccountInitTakeoutSession(ctx, &tg.AccountInitTakeoutSessionRequest{MessageChannels: true})
		if err != nil {
			return err
		}
		ask := &tg.MessagesGetHistoryRequest{Peer: peerOf(chat, bot), Limit: 1}
		for range 3 {
			_, err := api.MessagesGetHistory(ctx, ask)
			plain = append(plain, err)
		}
		early = s.Early()
		for range 6 {
			_, err := takeout(api, begun.ID).MessagesGetHistory(ctx, ask)
			wrapped = append(wrapped, err)
		}
		_, err = api.UpdatesGetState(ctx)
		return err
	})
	require.NoError(t, plain[0])
	require.NoError(t, plain[1])
	wait, ok := tgerr.AsFloodWait(plain[2])
	require.True(t, ok, "%v", plain[2])
	require.Greater(t, wait, 59*time.Minute)
	require.Zero(t, early, "nobody had been told yet")
	for _, err := range wrapped[:5] {
		require.NoError(t, err)
	}
	require.True(t, tgerr.Is(wrapped[5], "FLOOD_WAIT"), "%v", wrapped[5])
	require.Equal(t, 1, s.Early(), "who asks again before the time is counted")
	require.Equal(t, 9, s.Calls("messages.getHistory"))
}

func TestATakeoutIsOpenUntilItIsFinished(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	s.DelayTakeouts(time.Hour)
	var delayed, unwrapped, foreign, after error
	var open, closed int
	asking(t, s, func(ctx context.Context, api *tg.Client) error {
		_, delayed = api.AccountInitTakeoutSession(ctx, &tg.AccountInitTakeoutSessionRequest{})
		s.DelayTakeouts(0)
		begun, err := api.AccountInitTakeoutSession(ctx, &tg.AccountInitTakeoutSessionRequest{})
		if err != nil {
			return err
		}
		open = s.Takeouts()
		finish := &tg.AccountFinishTakeoutSessionRequest{Success: true}
		_, unwrapped = api.AccountFinishTakeoutSession(ctx, finish)
		_, foreign = takeout(api, begun.ID+1).UpdatesGetState(ctx)
		if _, err := takeout(api, begun.ID).AccountFinishTakeoutSession(ctx, finish); err != nil {
			return err
		}
		closed = s.Takeouts()
		_, after = takeout(api, begun.ID).UpdatesGetState(ctx)
		return nil
	})
	refused, ok := tgerr.AsType(delayed, "TAKEOUT_INIT_DELAY")
	require.True(t, ok, "%v", delayed)
	require.Equal(t, 420, refused.Code)
	require.InDelta(t, 3600, refused.Argument, 5)
	require.Equal(t, 1, open)
	require.True(t, tgerr.Is(unwrapped, "TAKEOUT_REQUIRED"), "%v", unwrapped)
	require.True(t, tgerr.Is(foreign, "TAKEOUT_INVALID"), "%v", foreign)
	require.Zero(t, closed)
	require.True(t, tgerr.Is(after, "TAKEOUT_INVALID"), "%v", after)
}
