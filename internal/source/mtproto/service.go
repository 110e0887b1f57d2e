package mtproto

import (
	"slices"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// fromService tells whether a message is of the chat with Telegram itself.
func fromService(m tg.MessageClass) bool {
	switch m := m.(type) {
	case *tg.Message:
		return isService(m.PeerID) || isService(m.FromID)
	case *tg.MessageService:
		return isService(m.PeerID) || isService(m.FromID)
	default:
		return false
	}
}

func isService(peer tg.PeerClass) bool {
	user, ok := peer.(*tg.PeerUser)
	return ok && user.UserID == content.TelegramItself
}

// isServiceUpdate tells whether an update shows what Telegram itself writes to the account.
func isServiceUpdate(u tg.UpdateClass) bool {
	switch u := u.(type) {
	case *tg.UpdateNewMessage:
		return fromService(u.Message)
	case *tg.UpdateEditMessage:
		return fromService(u.Message)
	case *tg.UpdateServiceNotification, *tg.UpdateLoginToken:
		return true
	default:
		return false
	}
}

// withoutService returns the container without what Telegram itself writes, nil when nothing is left, and whether anything was taken out. It
// leaves u as it is.
func withoutService(u tg.UpdatesClass) (rest tg.UpdatesClass, taken bool) {
	switch u := u.(type) {
	case *tg.Updates:
		cut := *u
		return cutDown(&cut, &cut.Updates)
	case *tg.UpdatesCombined:
		cut := *u
		return cutDown(&cut, &cut.Updates)
	case *tg.UpdateShort:
		if isServiceUpdate(u.Update) {
			return nil, true
		}
	case *tg.UpdateShortMessage:
		if u.UserID == content.TelegramItself {
			return nil, true
		}
	}
	return u, false
}

// cutDown takes out of updates, which are those of the container of, what Telegram itself writes.
func cutDown(of tg.UpdatesClass, updates *[]tg.UpdateClass) (rest tg.UpdatesClass, taken bool) {
	*updates, taken = withoutServiceUpdates(*updates)
	if taken && len(*updates) == 0 {
		return nil, true
	}
	return of, taken
}

func withoutServiceUpdates(updates []tg.UpdateClass) (kept []tg.UpdateClass, taken bool) {
	if !slices.ContainsFunc(updates, isServiceUpdate) {
		return updates, false
	}
	return slices.DeleteFunc(slices.Clone(updates), isServiceUpdate), true
}

// differenceWithoutService returns the difference without what Telegram itself writes, and whether anything was taken out. It leaves d as
// it is.
func differenceWithoutService(d tg.UpdatesDifferenceClass) (rest tg.UpdatesDifferenceClass, taken bool) {
	cut := func(messages *[]tg.MessageClass, updates *[]tg.UpdateClass) bool {
		kept, taken := withoutServiceUpdates(*updates)
		*updates = kept
		if slices.ContainsFunc(*messages, fromService) {
			*messages, taken = slices.DeleteFunc(slices.Clone(*messages), fromService), true
		}
		return taken
	}
	switch d := d.(type) {
	case *tg.UpdatesDifference:
		c := *d
		return &c, cut(&c.NewMessages, &c.OtherUpdates)
	case *tg.UpdatesDifferenceSlice:
		c := *d
		return &c, cut(&c.NewMessages, &c.OtherUpdates)
	default:
		return d, false
	}
}

// historyWithoutService returns the page of history without what Telegram itself wrote, and whether anything was taken out. It leaves page as
// it is.
func historyWithoutService(page tg.MessagesMessagesClass) (rest tg.MessagesMessagesClass, taken bool) {
	whole, ok := page.AsModified()
	if !ok || !slices.ContainsFunc(whole.GetMessages(), fromService) {
		return page, false
	}
	kept := slices.DeleteFunc(slices.Clone(whole.GetMessages()), fromService)
	switch page := page.(type) {
	case *tg.MessagesMessages:
		c := *page
		c.Messages = kept
		return &c, true
	case *tg.MessagesMessagesSlice:
		c := *page
		c.Messages = kept
		return &c, true
	case *tg.MessagesChannelMessages:
		c := *page
		c.Messages = kept
		return &c, true
	default:
		return page, false
	}
}
