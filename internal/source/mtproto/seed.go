package mtproto

import (
	"context"
	"fmt"
	"time"

	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/account"
)

// dialogsTogether is how many dialogs are asked for at once: the most that Telegram gives
// (https://core.telegram.org/method/messages.getDialogs).
const dialogsTogether = 100

// seed finds out where the account's sequences stand, before its updates are followed for the first time: the common one, and that of each
// channel, from the account's dialogs. A channel without a place would begin with the first of its updates that comes through, and what
// was lost before it would not be missed. A bot has no dialogs.
func (s *client) seed(ctx context.Context) error {
	state, err := s.differences.UpdatesGetState(ctx)
	if err != nil {
		return fmt.Errorf("ask where the updates stand: %w", err)
	}
	newest := 0
	if s.connector.Kind == account.UserAccount {
		err := s.eachDialog(ctx, s.calls.do, func(d *tg.Dialog, beside *tg.MessagesDialogsSlice) {
			peer, ofChannel := d.Peer.(*tg.PeerChannel)
			switch {
			case !ofChannel:
				newest = max(newest, d.TopMessage)
			case d.Pts != 0:
				s.state.follow(account.ChannelState{
					ChannelID: peer.ChannelID, Pts: d.Pts, AccessHash: accessHashOf(beside.Chats, peer.ChannelID), FollowedFrom: d.TopMessage + 1,
				})
			}
		})
		if err != nil {
			return err
		}
	}
	// The common place is stored last: with it the seed counts as done.
	s.state.followCommon(updates.State{Pts: state.Pts, Qts: state.Qts, Date: state.Date, Seq: state.Seq}, newest)
	return nil
}

// asking is a way to call a method of Telegram's: calls.do waits when it has to, differences.try does not.
type asking func(ctx context.Context, method string, ask func(context.Context) error) error

// eachDialog calls do with each of the account's dialogs, and with what Telegram tells beside it.
func (s *client) eachDialog(ctx context.Context, by asking, do func(d *tg.Dialog, beside *tg.MessagesDialogsSlice)) error {
	request := &tg.MessagesGetDialogsRequest{OffsetPeer: &tg.InputPeerEmpty{}, Limit: dialogsTogether}
	for seen := 0; ; {
		var page tg.MessagesDialogsClass
		err := by(ctx, methodGetDialogs, func(ctx context.Context) (err error) {
			page, err = s.telegram.API().MessagesGetDialogs(ctx, request)
			return err
		})
		if err != nil {
			return fmt.Errorf("ask for the dialogs: %w", err)
		}
		slice := sliceOf(page)
		for _, d := range slice.Dialogs {
			if dialog, ok := d.(*tg.Dialog); ok {
				do(dialog, slice)
			}
		}
		seen += len(slice.Dialogs)
		if len(slice.Dialogs) == 0 || seen >= slice.Count || !nextPage(request, slice) {
			return nil
		}
	}
}

// sliceOf returns a page of dialogs as a part of all of them, whether or not it is all of them.
func sliceOf(page tg.MessagesDialogsClass) *tg.MessagesDialogsSlice {
	switch page := page.(type) {
	case *tg.MessagesDialogsSlice:
		return page
	case *tg.MessagesDialogs:
		return &tg.MessagesDialogsSlice{
			Count: len(page.Dialogs), Dialogs: page.Dialogs, Messages: page.Messages, Chats: page.Chats, Users: page.Users,
		}
	default:
		return &tg.MessagesDialogsSlice{}
	}
}

// nextPage lets request ask for what comes behind page, and returns false when nothing can. Source:
// https://core.telegram.org/api/offsets.
func nextPage(request *tg.MessagesGetDialogsRequest, page *tg.MessagesDialogsSlice) bool {
	last, ok := page.Dialogs[len(page.Dialogs)-1].(*tg.Dialog)
	if !ok {
		return false
	}
	peer := inputPeer(last.Peer, page.Chats, page.Users)
	// The newest messages of different chats may well have the same id.
	if peer == nil || peer.String() == request.OffsetPeer.String() {
		return false
	}
	request.OffsetPeer, request.OffsetID, request.OffsetDate = peer, last.TopMessage, dateOf(page.Messages, last)
	return true
}

func dateOf(messages []tg.MessageClass, of *tg.Dialog) int {
	for _, m := range messages {
		m, ok := m.AsNotEmpty()
		if ok && m.GetID() == of.TopMessage && samePeer(m.GetPeerID(), of.Peer) {
			return m.GetDate()
		}
	}
	return int(time.Now().Unix())
}

func samePeer(a, b tg.PeerClass) bool { return a.String() == b.String() }

// inputPeer returns peer as the account may name it to Telegram; nil when the access hash is not among users and chats.
func inputPeer(peer tg.PeerClass, chats []tg.ChatClass, users []tg.UserClass) tg.InputPeerClass {
	switch peer := peer.(type) {
	case *tg.PeerChannel:
		if hash := accessHashOf(chats, peer.ChannelID); hash != 0 {
			return &tg.InputPeerChannel{ChannelID: peer.ChannelID, AccessHash: hash}
		}
	case *tg.PeerChat:
		return &tg.InputPeerChat{ChatID: peer.ChatID}
	case *tg.PeerUser:
		for _, u := range users {
			if user, ok := u.(*tg.User); ok && user.ID == peer.UserID && !user.Min {
				return &tg.InputPeerUser{UserID: user.ID, AccessHash: user.AccessHash}
			}
		}
	}
	return nil
}
