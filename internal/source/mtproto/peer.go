package mtproto

import (
	"cmp"
	"context"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// chatOf returns the chat that peer names.
func chatOf(peer tg.PeerClass) content.ChatID {
	switch peer := peer.(type) {
	case *tg.PeerChannel:
		return content.ChatOfChannel(peer.ChannelID)
	case *tg.PeerChat:
		return content.ChatID(-peer.ChatID)
	case *tg.PeerUser:
		return content.ChatID(peer.UserID)
	default:
		return 0
	}
}

// peerOf returns chat as the account names it to Telegram. It is errUnknownPeer when nobody has told the account how to.
func (s *client) peerOf(ctx context.Context, chat content.ChatID) (tg.InputPeerClass, error) {
	channel, isChannel := chat.Channel()
	switch {
	case chat == content.TelegramItself:
		return nil, errService
	case isChannel:
		hash, known, err := s.hashOfChannel(ctx, channel)
		if err != nil || !known {
			return nil, cmp.Or(err, errUnknownPeer)
		}
		return &tg.InputPeerChannel{ChannelID: channel, AccessHash: hash}, nil
	case chat < 0:
		return &tg.InputPeerChat{ChatID: int64(-chat)}, nil
	case int64(chat) == s.connector.AccountID:
		return &tg.InputPeerSelf{}, nil
	}
	hash, known, err := s.state.GetUserAccessHash(ctx, s.connector.AccountID, int64(chat))
	if err == nil && !known {
		hash, known, err = s.hashAmongDialogs(ctx, int64(chat))
	}
	if err != nil || !known {
		return nil, cmp.Or(err, errUnknownPeer)
	}
	return &tg.InputPeerUser{UserID: int64(chat), AccessHash: hash}, nil
}

// hashAmongDialogs returns what Telegram tells of a person beside the account's dialogs: of one who has not written since the account is followed
// nothing else does. The dialogs are asked for once in a client's life.
func (s *client) hashAmongDialogs(ctx context.Context, userID int64) (hash int64, known bool, err error) {
	if s.people == nil {
		people := map[int64]int64{}
		err := s.eachDialog(ctx, s.differences.try, func(_ *tg.Dialog, beside *tg.MessagesDialogsSlice) {
			for _, u := range beside.Users {
				if user, ok := u.(*tg.User); ok && !user.Min {
					people[user.ID] = user.AccessHash
				}
			}
		})
		if err != nil {
			return 0, false, err
		}
		s.people = people
	}
	hash, known = s.people[userID]
	return hash, known, nil
}

// hashOfChannel returns what the account was told of a channel: with its updates, or else beside any others.
func (s *client) hashOfChannel(ctx context.Context, channelID int64) (hash int64, known bool, err error) {
	if hash := s.state.channel(channelID).AccessHash; hash != 0 {
		return hash, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Hashes.Find(ctx, s.connector.AccountID, content.ChatOfChannel(channelID))
}

// withoutHash returns peer without what only the account may know.
func withoutHash(peer tg.InputPeerClass) tg.InputPeerClass {
	switch peer := peer.(type) {
	case *tg.InputPeerChannel:
		return &tg.InputPeerChannel{ChannelID: peer.ChannelID}
	case *tg.InputPeerUser:
		return &tg.InputPeerUser{UserID: peer.UserID}
	default:
		return peer
	}
}
