package mtproto

import (
	"context"
	"errors"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/account"
)

// A channel that the account joins while it is followed has no place yet, and would begin with the first of its updates that comes through. Telegram
// tells of the change (updateChannel), so that it can be asked where the channel stands. The same is asked of a channel that began with an
// update, because its newest message then tells from where on it is followed for certain.

// placeOne asks where one channel stands of which that is not known, and returns false when there is none.
func (s *client) placeOne(ctx context.Context) (asked bool, err error) {
	id, unplaced := s.state.unplaced()
	if !unplaced || s.connector.Kind == account.BotAccount {
		return false, nil
	}
	answer, err := s.peerDialogs(ctx, id)
	if _, refused := refusalOf(err); refused {
		s.state.place(id, 0, 0)
		return true, nil
	}
	if errors.Is(err, errThrottled) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	if dialog := dialogOf(answer, id); dialog != nil {
		s.state.place(id, dialog.Pts, dialog.TopMessage)
	} else {
		s.state.place(id, 0, 0)
	}
	return true, nil
}

// hasLeft tells whether the account is no member of a channel any more, by what Telegram tells of it.
func hasLeft(chats []tg.ChatClass, id int64) bool {
	for _, chat := range chats {
		if c, ok := chat.(*tg.Channel); ok && c.ID == id {
			return c.Left
		}
	}
	return true
}
