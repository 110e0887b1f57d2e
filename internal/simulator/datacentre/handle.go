package datacentre

import (
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/tgtest"
)

// keyDuplicated is why Telegram ends a session that two clients use at once.
const keyDuplicated = "AUTH_KEY_DUPLICATED"

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
		return s.difference(a, r)
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
	tg.MessagesGetPeerDialogsRequestTypeID: {"messages.getPeerDialogs", func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
		r, err := read[tg.MessagesGetPeerDialogsRequest](b)
		if err != nil {
			return nil, err
		}
		return s.peerDialogs(a, r)
	}},
	tg.MessagesGetHistoryRequestTypeID: {getHistory, func(s *Server, a *Account, b *bin.Buffer) (bin.Encoder, error) {
		r, err := read[tg.MessagesGetHistoryRequest](b)
		if err != nil {
			return nil, err
		}
		return s.history(a, r)
	}},
	tg.AccountInitTakeoutSessionRequestTypeID: {"account.initTakeoutSession", func(s *Server, a *Account, _ *bin.Buffer) (bin.Encoder, error) {
		return s.beginTakeout(a)
	}},
	tg.AccountFinishTakeoutSessionRequestTypeID: {
		"account.finishTakeoutSession", func(*Server, *Account, *bin.Buffer) (bin.Encoder, error) {
			return nil, tgerr.New(403, "TAKEOUT_REQUIRED")
		},
	},
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
	return &tg.Config{ThisDC: DC, Expires: int(time.Now().Add(time.Hour).Unix()), DCOptions: []tg.DCOption{option(s.addr)}}
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
	if id == tg.InvokeWithTakeoutRequestTypeID {
		return s.inTakeout(account, req.Buf)
	}
	return s.call(account, id, req.Buf, false)
}

// call answers the call in b, which is one in a takeout or not.
func (s *Server) call(a *Account, id uint32, b *bin.Buffer, takeout bool) (bin.Encoder, error) {
	m, known := methods[id]
	if !known {
		return nil, tgerr.New(400, "INPUT_METHOD_INVALID")
	}
	s.calls[m.name]++
	if err := s.flooded(m.name); err != nil {
		return nil, err
	}
	if m.name == getHistory {
		if err := s.overHistory(a, takeout); err != nil {
			return nil, err
		}
	}
	return m.answer(s, a, b)
}

// Refuse lets every call of account fail with a kind of error from now on: AUTH_KEY_DUPLICATED is Telegram's 406, the others are 401.
func (s *Server) Refuse(account *Account, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, of := range s.byKey {
		if of == account {
			s.refused[key] = kind
		}
	}
}

func refuse(kind string) error {
	if kind == keyDuplicated {
		return tgerr.New(406, kind)
	}
	return tgerr.New(401, kind)
}
