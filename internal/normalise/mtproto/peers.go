package mtproto

import (
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// largestID is beyond all ids that Telegram gives, which fit into 52 bits.
const largestID = 1 << 52

// chatOf returns the id of the chat that p names; 0 for nil.
func chatOf(p tg.PeerClass) content.ChatID {
	switch p := p.(type) {
	case *tg.PeerUser:
		return content.ChatID(p.UserID)
	case *tg.PeerChat:
		return content.ChatID(-p.ChatID)
	case *tg.PeerChannel:
		return content.ChatOfChannel(p.ChannelID)
	default:
		return 0
	}
}

// isPeer tells whether p names somebody by an id that Telegram could have given.
func isPeer(p tg.PeerClass) bool {
	switch p := p.(type) {
	case *tg.PeerUser:
		return isID(p.UserID)
	case *tg.PeerChat:
		return isID(p.ChatID)
	case *tg.PeerChannel:
		return isID(p.ChannelID)
	default:
		return false
	}
}

func isID(id int64) bool { return id > 0 && id < largestID }

// peerOf returns the chat that m is in; nil where m does not say.
func peerOf(m tg.MessageClass) tg.PeerClass {
	switch m := m.(type) {
	case *tg.Message:
		return m.PeerID
	case *tg.MessageService:
		return m.PeerID
	default:
		return nil
	}
}

func ofInputChannel(c tg.InputChannelClass) content.ChatID {
	switch c := c.(type) {
	case *tg.InputChannel:
		return content.ChatOfChannel(c.ChannelID)
	case *tg.InputChannelFromMessage:
		return content.ChatOfChannel(c.ChannelID)
	default:
		return 0
	}
}

// ofInputPeer returns the chat that p names to account.
func ofInputPeer(p tg.InputPeerClass, account int64) content.ChatID {
	switch p := p.(type) {
	case *tg.InputPeerSelf:
		return content.ChatID(account)
	case *tg.InputPeerUser:
		return content.ChatID(p.UserID)
	case *tg.InputPeerUserFromMessage:
		return content.ChatID(p.UserID)
	case *tg.InputPeerChat:
		return content.ChatID(-p.ChatID)
	case *tg.InputPeerChannel:
		return content.ChatOfChannel(p.ChannelID)
	case *tg.InputPeerChannelFromMessage:
		return content.ChatOfChannel(p.ChannelID)
	default:
		return 0
	}
}
