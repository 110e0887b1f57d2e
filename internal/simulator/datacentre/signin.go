package datacentre

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/tgtest"
)

// serviceID is the account from which Telegram itself writes.
const serviceID = 777000

// qrGood is how long a code to scan is good.
const qrGood = 30 * time.Second

// logins is what the server knows of sign-ins that are under way, by the key of the client.
type logins struct {
	// proven is who still has to give the password.
	proven map[keyID]*Account
	// waiting is who waits for a scan, by what is shown, and scanned is who scanned it.
	waiting map[string]waitingClient
	scanned map[keyID]*Account
	srp     map[int64]*srp
	// expired are codes that are not good any more.
	expired map[*Account]bool
}

type waitingClient struct {
	key     keyID
	session tgtest.Session
}

func newLogins() logins {
	return logins{
		proven: map[keyID]*Account{}, waiting: map[string]waitingClient{}, scanned: map[keyID]*Account{}, srp: map[int64]*srp{},
		expired: map[*Account]bool{},
	}
}

// signInMethods are the calls of clients that have yet to sign in, by their ids in TL.
var signInMethods = map[uint32]struct {
	name   string
	answer func(s *Server, req *tgtest.Request) (bin.Encoder, error)
}{
	tg.AuthSendCodeRequestTypeID:               {"auth.sendCode", (*Server).sendCode},
	tg.AuthSignInRequestTypeID:                 {"auth.signIn", (*Server).signInWithCode},
	tg.AccountGetPasswordRequestTypeID:         {"account.getPassword", (*Server).getPassword},
	tg.AuthCheckPasswordRequestTypeID:          {"auth.checkPassword", (*Server).checkPassword},
	tg.AuthImportBotAuthorizationRequestTypeID: {"auth.importBotAuthorization", (*Server).signInBot},
	tg.AuthExportLoginTokenRequestTypeID:       {"auth.exportLoginToken", (*Server).exportLoginToken},
}

// signIn answers a call of a sign-in, and returns false for every other.
func (s *Server) signIn(id uint32, req *tgtest.Request) (answer bin.Encoder, known bool, err error) {
	m, known := signInMethods[id]
	if !known {
		return nil, false, nil
	}
	s.calls[m.name]++
	if err := s.flooded(m.name); err != nil {
		return nil, true, err
	}
	answer, err = m.answer(s, req)
	return answer, true, err
}

// done lets account be signed in with the client's key.
func (s *Server) done(req *tgtest.Request, account *Account) *tg.AuthAuthorization {
	s.byKey[req.Session.AuthKey.ID] = account
	account.sessions = append(account.sessions, req.Session)
	return &tg.AuthAuthorization{User: account.self()}
}

// proved goes on to the password where there is one.
func (s *Server) proved(req *tgtest.Request, account *Account) (*tg.AuthAuthorization, error) {
	if account.Password != "" {
		s.logins.proven[req.Session.AuthKey.ID] = account
		return nil, tgerr.New(401, "SESSION_PASSWORD_NEEDED")
	}
	return s.done(req, account), nil
}

func (s *Server) account(is func(*Account) bool) *Account {
	at := slices.IndexFunc(s.accounts, is)
	if at < 0 {
		return nil
	}
	return s.accounts[at]
}

func (s *Server) byPhone(phone string) *Account {
	return s.account(func(a *Account) bool { return phone != "" && a.Phone == phone })
}

func codeHash(phone string) string { return "hash of " + phone }

// sendCode sends the code as Telegram does: as a message from itself to the account's other sessions.
func (s *Server) sendCode(req *tgtest.Request) (bin.Encoder, error) {
	r, err := read[tg.AuthSendCodeRequest](req.Buf)
	if err != nil {
		return nil, err
	}
	account := s.byPhone(r.PhoneNumber)
	switch {
	case account == nil:
		return nil, tgerr.New(400, "PHONE_NUMBER_INVALID")
	case account.Banned:
		return nil, tgerr.New(400, "PHONE_NUMBER_BANNED")
	}
	delete(s.logins.expired, account)
	s.post(s.serviceChat(account), "Login code: "+account.Code+". Do not give this code to anyone.")
	return &tg.AuthSentCode{
		Type: &tg.AuthSentCodeTypeApp{Length: len(account.Code)}, PhoneCodeHash: codeHash(account.Phone),
	}, nil
}

// serviceChat is the account's chat with Telegram itself.
func (s *Server) serviceChat(account *Account) *Chat {
	for _, c := range s.chats {
		if c.ID == serviceID && c.owner == account {
			return c
		}
	}
	return s.addPrivate(account, serviceID, "Telegram")
}

// ExpireCode ends the code that was sent to account.
func (s *Server) ExpireCode(account *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins.expired[account] = true
}

func (s *Server) signInWithCode(req *tgtest.Request) (bin.Encoder, error) {
	r, err := read[tg.AuthSignInRequest](req.Buf)
	if err != nil {
		return nil, err
	}
	account := s.byPhone(r.PhoneNumber)
	switch {
	case account == nil:
		return nil, tgerr.New(400, "PHONE_NUMBER_INVALID")
	case r.PhoneCodeHash != codeHash(account.Phone) || s.logins.expired[account]:
		return nil, tgerr.New(400, "PHONE_CODE_EXPIRED")
	case r.PhoneCode != account.Code:
		return nil, tgerr.New(400, "PHONE_CODE_INVALID")
	case account.Unregistered:
		return &tg.AuthAuthorizationSignUpRequired{}, nil
	}
	authorised, err := s.proved(req, account)
	if err != nil {
		return nil, err
	}
	return authorised, nil
}

func (s *Server) signInBot(req *tgtest.Request) (bin.Encoder, error) {
	r, err := read[tg.AuthImportBotAuthorizationRequest](req.Buf)
	if err != nil {
		return nil, err
	}
	account := s.account(func(a *Account) bool { return a.Token != "" && a.Token == r.BotAuthToken })
	if account == nil {
		return nil, tgerr.New(400, "ACCESS_TOKEN_INVALID")
	}
	return s.done(req, account), nil
}

func (s *Server) getPassword(req *tgtest.Request) (bin.Encoder, error) {
	account := s.logins.proven[req.Session.AuthKey.ID]
	if account == nil {
		return nil, tgerr.New(401, "AUTH_KEY_UNREGISTERED")
	}
	challenge, err := newSRP(account.Password)
	if err != nil {
		return nil, err
	}
	s.logins.srp[challenge.id] = challenge
	return challenge.question(), nil
}

func (s *Server) checkPassword(req *tgtest.Request) (bin.Encoder, error) {
	r, err := read[tg.AuthCheckPasswordRequest](req.Buf)
	if err != nil {
		return nil, err
	}
	given, ok := r.Password.(*tg.InputCheckPasswordSRP)
	account := s.logins.proven[req.Session.AuthKey.ID]
	if account == nil || !ok {
		return nil, tgerr.New(400, "PASSWORD_HASH_INVALID")
	}
	challenge := s.logins.srp[given.SRPID]
	if challenge == nil {
		return nil, tgerr.New(400, "SRP_ID_INVALID")
	}
	delete(s.logins.srp, given.SRPID)
	if !challenge.proves(given.A, given.M1) {
		return nil, tgerr.New(400, "PASSWORD_HASH_INVALID")
	}
	delete(s.logins.proven, req.Session.AuthKey.ID)
	return s.done(req, account), nil
}

func (s *Server) exportLoginToken(req *tgtest.Request) (bin.Encoder, error) {
	key := req.Session.AuthKey.ID
	if account := s.logins.scanned[key]; account != nil {
		authorised, err := s.proved(req, account)
		if err != nil {
			return nil, err
		}
		delete(s.logins.scanned, key)
		return &tg.AuthLoginTokenSuccess{Authorization: authorised}, nil
	}
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return nil, err
	}
	s.logins.waiting[string(token)] = waitingClient{key: key, session: req.Session}
	return &tg.AuthLoginToken{Expires: int(time.Now().Add(qrGood).Unix()), Token: token}, nil
}

// Scan lets account scan what a client shows: the token of a tg://login URL. It returns false when no client shows it. With silent nobody tells
// the client.
func (s *Server) Scan(account *Account, token []byte, silent bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	client, waits := s.logins.waiting[string(token)]
	if !waits {
		return false
	}
	delete(s.logins.waiting, string(token))
	s.logins.scanned[client.key] = account
	if !silent {
		shown := &Account{sessions: []tgtest.Session{client.session}}
		s.send(shown, &tg.UpdateShort{Update: &tg.UpdateLoginToken{}, Date: s.now()})
	}
	return true
}
