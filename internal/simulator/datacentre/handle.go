package datacentre

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/tgtest"
)

// keyUse is who has used a key last: two clients that use one in turns are two holders of one session.
type keyUse struct{ last, before int64 }

// users is the answer to a call that asks for users: a bare vector, which tgtest sends in its own way.
type users struct {
	bin.Encoder
	of *tg.User
}

// method is a call that signed-in accounts may make.
type method struct {
	name   string
	answer func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error)
}

// methods are the calls of signed-in accounts that the server knows, by their ids in TL.
var methods = map[uint32]method{
	tg.UpdatesGetStateRequestTypeID: {"updates.getState", func(s *Server, a *Account, _ *bin.Buffer) (bin.Encoder, error) {
		state := s.state(a.sequence.pts)
		return &state, nil
	}},
	tg.UpdatesGetDifferenceRequestTypeID: {"updates.getDifference", func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
		r, err := read[tg.UpdatesGetDifferenceRequest](b)
		if err != nil {
			return nil, err
		}
		return s.difference(a, r), nil
	}},
	tg.UpdatesGetChannelDifferenceRequestTypeID: {
		"updates.getChannelDifference", func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
			r, err := read[tg.UpdatesGetChannelDifferenceRequest](b)
			if err != nil {
				return nil, err
			}
			return s.channelDifference(a, r)
		},
	},
	tg.MessagesGetDialogsRequestTypeID: {"messages.getDialogs", func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
		r, err := read[tg.MessagesGetDialogsRequest](b)
		if err != nil {
			return nil, err
		}
		return s.dialogs(a, r), nil
	}},
	tg.MessagesGetHistoryRequestTypeID: {"messages.getHistory", func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
		r, err := read[tg.MessagesGetHistoryRequest](b)
		if err != nil {
			return nil, err
		}
		peer, ok := r.Peer.(*tg.InputPeerChannel)
		if !ok {
			return nil, tgerr.New(400, "PEER_ID_INVALID")
		}
		chat, err := s.channelOf(a, &tg.InputChannel{ChannelID: peer.ChannelID, AccessHash: peer.AccessHash})
		if err != nil {
			return nil, err
		}
		users, chats := chat.people()
		return &tg.MessagesChannelMessages{
			Pts: chat.sequence.pts, Count: len(chat.sequence.messages), Messages: s.page(chat, r.OffsetID, r.Limit), Users: users, Chats: chats,
		}, nil
	}},
}

// read decodes a request.
func read[T any, P interface {
	*T
	bin.Decoder
}](b *bin.Buffer) (*T, error) {
	v := new(T)
	return v, P(v).Decode(b)
}

// handle answers one call.
func (s *Server) handle(_ *tgtest.Server, req *tgtest.Request) error {
	id, err := req.Buf.PeekID()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := req.Session.AuthKey.ID
	s.used(key, req.Session.ID)
	if id == tg.HelpGetConfigRequestTypeID {
		return s.mtproto.SendResult(req, s.config())
	}
	answer, err := s.result(id, req)
	// Any other error would close the connection.
	if refused, ok := tgerr.As(err); ok {
		return s.mtproto.SendErr(req, refused)
	}
	if err != nil {
		return err
	}
	if list, ok := answer.(*users); ok {
		return s.mtproto.SendVector(req, list.of)
	}
	return s.mtproto.SendResult(req, answer)
}

// config tells clients where the data centre is, which is where they connect from then on.
func (s *Server) config() *tg.Config {
	here := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s.addr))
	return &tg.Config{
		ThisDC: DC, Expires: int(time.Now().Add(time.Hour).Unix()),
		DCOptions: []tg.DCOption{{ID: DC, IPAddress: here.IP.String(), Port: here.Port, Static: true}},
	}
}

func (s *Server) result(id uint32, req *tgtest.Request) (bin.Encoder, error) {
	if refusal, refused := s.refused[req.Session.AuthKey.ID]; refused {
		return nil, refuse(refusal)
	}
	answer, known, err := s.signIn(id, req)
	if !known {
		return s.answer(id, req)
	}
	return answer, err
}

// answer answers a call that only signed-in accounts may make.
func (s *Server) answer(id uint32, req *tgtest.Request) (bin.Encoder, error) {
	account := s.byKey[req.Session.AuthKey.ID]
	if account == nil {
		return nil, tgerr.New(401, "AUTH_KEY_UNREGISTERED")
	}
	// A call that only the account may make subscribes to its updates. Source: https://core.telegram.org/api/updates#subscribing-to-updates.
	if !slices.ContainsFunc(account.sessions, func(k tgtest.Session) bool { return k.ID == req.Session.ID }) {
		account.sessions = append(account.sessions, req.Session)
	}
	if id == tg.UsersGetUsersRequestTypeID {
		return &users{of: account.self()}, nil
	}
	m, known := methods[id]
	if !known {
		return nil, tgerr.New(400, "INPUT_METHOD_INVALID")
	}
	s.calls[m.name]++
	if wait, flooded := s.floods[m.name]; flooded {
		delete(s.floods, m.name)
		return nil, flood(wait)
	}
	return m.answer(s, account, req.Buf)
}

// used notes who uses a key, and counts when somebody uses it again after somebody else did: a client that reconnects has another session,
// and never goes back to the one before.
func (s *Server) used(key keyID, session int64) {
	use := s.use[key]
	if use.last == session {
		return
	}
	if use.before == session {
		s.overlap++
	}
	s.use[key] = keyUse{last: session, before: use.last}
}

// Refuse lets every call of account fail with a kind of error: "AUTH_KEY_DUPLICATED" is Telegram's 406, the others are 401. The empty kind
// ends it.
func (s *Server) Refuse(account *Account, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, of := range s.byKey {
		if of == account && kind != "" {
			s.refused[key] = kind
		}
	}
	if kind == "" {
		clear(s.refused)
	}
}

func refuse(kind string) error {
	if kind == "AUTH_KEY_DUPLICATED" {
		return tgerr.New(406, kind)
	}
	return tgerr.New(401, kind)
}
