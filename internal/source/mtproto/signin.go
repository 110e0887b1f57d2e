package mtproto

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/auth"
	"github.com/gotd/td/telegram/auth/qrlogin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/pause"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// signInEvery is how often it is looked whether the operator has done their turn.
	signInEvery = 300 * time.Millisecond
	// qrEarly is how long before its end a QR code is replaced. It also asks then whether somebody has scanned it: the signal that tells
	// so can be missed.
	qrEarly = 5 * time.Second
)

// signIn is a connector's way to a session, as far as this listener goes it. What is said on it is stored at every step; another listener
// carries it on with the same key.
type signIn struct {
	*holder
	lease     account.Lease
	connector *account.Connector
	keys      *keyring
	telegram  *telegram.Client
	// now is the conversation as it is stored.
	now account.SignIn
	// scanned says that somebody has scanned the QR code.
	scanned chan struct{}
}

// login goes on with the sign-in that is under way until it ends or ctx does. It returns an error when it has to be tried again.
func (h *holder) login(ctx context.Context, l account.Lease, connector *account.Connector) error {
	now, err := h.cfg.SignIns.Find(ctx, h.id)
	if err != nil {
		return fmt.Errorf("find the sign-in: %w", err)
	}
	if now.Step.Ended() {
		return h.abandoned(ctx, l, &now)
	}
	s := &signIn{holder: h, lease: l, connector: connector, now: now, scanned: make(chan struct{}, 1)}
	if s.keys, err = openPending(ctx, h, l, now.Attempt); err != nil {
		return err
	}
	h.state.Set(stateSigningIn)
	s.telegram = h.dial.client(telegram.Options{
		SessionStorage: s.keys, Logger: quiet(h.log),
		UpdateHandler: telegram.UpdateHandlerFunc(s.handle),
		// Nobody has signed in yet, so this is expected.
		OnSelfError: func(context.Context, error) error { return nil },
		OnDead:      h.unreached,
	}, connector.Device, func(ctx context.Context) error { return h.keeper.Confirm(ctx, l) })
	made, err := h.dial.makeKey(ctx)
	if err != nil {
		return err
	}
	defer made()
	return s.telegram.Run(ctx, func(ctx context.Context) error {
		made()
		h.state.Set(stateSigningIn)
		return s.converse(ctx)
	})
}

// abandoned puts the status of a connector right whose sign-in ended without anybody to say so.
func (h *holder) abandoned(ctx context.Context, l account.Lease, ended *account.SignIn) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	stored, found, err := h.cfg.Sessions.Load(ctx, h.id)
	if err != nil {
		return err
	}
	status := account.New
	if found && stored.Authorised {
		status = account.NeedsLogin
	}
	return h.cfg.Connectors.SetStatus(ctx, l, h.id, status, string(ended.Problem))
}

// openPending loads the key with which the sign-in attempt was begun, if it was.
func openPending(ctx context.Context, h *holder, l account.Lease, attempt int64) (*keyring, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	k := &keyring{
		sessions: h.cfg.Sessions, sealer: h.cfg.Sealer, lease: l, connector: h.id, attempt: attempt, stored: make(chan struct{}),
	}
	stored, found, err := h.cfg.Sessions.LoadPending(ctx, h.id, attempt)
	if err != nil || !found {
		return k, err
	}
	k.version = stored.Version
	close(k.stored)
	err = k.open(stored)
	return k, err
}

// handle notes that the QR code was scanned. What else comes before the account's state is known comes again.
func (s *signIn) handle(_ context.Context, u tg.UpdatesClass) error {
	short, ok := u.(*tg.UpdateShort)
	if !ok {
		return nil
	}
	if _, ok := short.Update.(*tg.UpdateLoginToken); ok {
		select {
		case s.scanned <- struct{}{}:
		default:
		}
	}
	return nil
}

// converse does the listener's turns until the sign-in has ended.
func (s *signIn) converse(ctx context.Context) error {
	for !s.now.Step.Ended() {
		if err := s.turn(ctx); err != nil {
			return err
		}
		if s.now.Step.Ended() {
			break
		}
		if !pause.For(ctx, signInEvery) {
			return ctx.Err()
		}
		if err := s.look(ctx); err != nil {
			s.log.Warn("sign-in not read, it is tried again", "error", err)
		}
	}
	s.log.Info("sign-in ended", "step", s.now.Step, "problem", s.now.Problem)
	if s.now.Step == account.Done {
		return nil
	}
	return s.abandoned(ctx, s.lease, &s.now)
}

func (s *signIn) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	now, err := s.cfg.SignIns.Find(ctx, s.id)
	if err == nil {
		s.now = now
	}
	return err
}

// turn does what is the listener's to do at this step. It returns an error only when it has to be done again from the beginning of the step.
func (s *signIn) turn(ctx context.Context) error {
	switch s.now.Step {
	case account.Begun:
		switch s.now.Method {
		case account.ByCode:
			return s.sendCode(ctx)
		case account.ByToken:
			return s.token(ctx)
		default:
			return s.showQR(ctx)
		}
	case account.CodeGiven:
		return s.code(ctx)
	case account.PasswordGiven:
		return s.password(ctx)
	case account.QRShown:
		select {
		case <-s.scanned:
			return s.showQR(ctx)
		default:
		}
		if time.Now().After(s.now.QRExpiresAt.Add(-qrEarly)) {
			return s.showQR(ctx)
		}
	case account.CodeWanted, account.PasswordWanted, account.Done, account.Failed, account.Cancelled:
		// It is the operator's turn, or nobody's.
	}
	return nil
}

func (s *signIn) sendCode(ctx context.Context) error {
	phone, err := s.open(s.now.SealedPhone)
	if err != nil {
		return err
	}
	sent, err := ask(ctx, func(ctx context.Context) (tg.AuthSentCodeClass, error) {
		return s.telegram.Auth().SendCode(ctx, phone, auth.SendCodeOptions{})
	})
	if err != nil {
		return s.refused(ctx, err, account.Failed)
	}
	code, ok := sent.(*tg.AuthSentCode)
	if !ok {
		return s.refused(ctx, fmt.Errorf("telegram sent %T and no code", sent), account.Failed)
	}
	s.now.CodeBy = codeBy(code.Type)
	if s.now.SealedCodeHash, err = s.cfg.Sealer.Seal(seal.PurposeSignIn, []byte(code.PhoneCodeHash)); err != nil {
		return fmt.Errorf("seal the code's hash: %w", err)
	}
	return s.advance(ctx, account.CodeWanted, "")
}

func (s *signIn) code(ctx context.Context) error {
	phone, err := s.open(s.now.SealedPhone)
	if err != nil {
		return err
	}
	code, err := s.open(s.now.SealedCode)
	if err != nil {
		return err
	}
	hash, err := s.open(s.now.SealedCodeHash)
	if err != nil {
		return err
	}
	s.now.SealedCode = ""
	authorised, err := ask(ctx, func(ctx context.Context) (*tg.AuthAuthorization, error) {
		return s.telegram.Auth().SignIn(ctx, phone, code, hash)
	})
	return s.answered(ctx, authorised, err, account.CodeWanted)
}

func (s *signIn) password(ctx context.Context) error {
	password, err := s.open(s.now.SealedPassword)
	if err != nil {
		return err
	}
	s.now.SealedPassword = ""
	authorised, err := ask(ctx, func(ctx context.Context) (*tg.AuthAuthorization, error) {
		return s.telegram.Auth().Password(ctx, password)
	})
	return s.answered(ctx, authorised, err, account.PasswordWanted)
}

func (s *signIn) token(ctx context.Context) error {
	token, err := s.open(s.now.SealedToken)
	if err != nil {
		return err
	}
	authorised, err := ask(ctx, func(ctx context.Context) (*tg.AuthAuthorization, error) {
		return s.telegram.Auth().Bot(ctx, token)
	})
	return s.answered(ctx, authorised, err, account.Failed)
}

// showQR asks Telegram for a code to scan, or learns that it was scanned.
func (s *signIn) showQR(ctx context.Context) error {
	given, err := ask(ctx, func(ctx context.Context) (tg.AuthLoginTokenClass, error) {
		return s.telegram.API().AuthExportLoginToken(ctx, &tg.AuthExportLoginTokenRequest{
			APIID: s.cfg.Telegram.AppID, APIHash: s.cfg.Telegram.AppHash.Reveal(),
		})
	})
	if moved, ok := given.(*tg.AuthLoginTokenMigrateTo); ok && err == nil {
		if err := s.telegram.MigrateTo(ctx, moved.DCID); err != nil {
			return fmt.Errorf("go to the account's data centre: %w", err)
		}
		given, err = ask(ctx, func(ctx context.Context) (tg.AuthLoginTokenClass, error) {
			return s.telegram.API().AuthImportLoginToken(ctx, moved.Token)
		})
	}
	switch given := given.(type) {
	case *tg.AuthLoginToken:
		url := qrlogin.NewToken(given.Token, given.Expires).URL()
		if s.now.SealedQR, err = s.cfg.Sealer.Seal(seal.PurposeSignIn, []byte(url)); err != nil {
			return fmt.Errorf("seal the QR code: %w", err)
		}
		s.now.QRExpiresAt = time.Unix(int64(given.Expires), 0)
		return s.advance(ctx, account.QRShown, "")
	case *tg.AuthLoginTokenSuccess:
		authorised, _ := given.Authorization.(*tg.AuthAuthorization)
		return s.answered(ctx, authorised, nil, account.Failed)
	default:
		return s.answered(ctx, nil, err, account.Failed)
	}
}

// answered goes on after Telegram said yes, asked for the password, or refused what it was given; then the step is back to again.
func (s *signIn) answered(ctx context.Context, authorised *tg.AuthAuthorization, err error, again account.SignInStep) error {
	switch {
	case errors.Is(err, auth.ErrPasswordAuthNeeded), tgerr.Is(err, "SESSION_PASSWORD_NEEDED"):
		return s.advance(ctx, account.PasswordWanted, "")
	case err != nil:
		return s.refused(ctx, err, again)
	case authorised == nil:
		return s.refused(ctx, errors.New("telegram signed nobody in"), account.Failed)
	}
	user, ok := authorised.User.(*tg.User)
	if !ok {
		return s.refused(ctx, fmt.Errorf("telegram signed %T in", authorised.User), account.Failed)
	}
	return s.done(ctx, user)
}

// done stores that the account has signed in.
func (s *signIn) done(ctx context.Context, user *tg.User) error {
	within, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	version, err := s.keys.storedVersion(within)
	if err != nil {
		return err
	}
	err = s.cfg.Connectors.SignedIn(within, s.lease, s.id, account.Identity{AccountID: user.ID, Username: user.Username, SessionVersion: version})
	if fault.ClassOf(err) == fault.Permanent {
		s.log.Warn("signed in to another account than the connector's", "error", err)
		return s.advance(ctx, account.Failed, account.OtherAccount)
	}
	if err != nil {
		return fmt.Errorf("store the sign-in: %w", err)
	}
	return s.advance(ctx, account.Done, "")
}

// refused writes down why Telegram said no, and goes back to the step again, unless nothing can be tried again.
func (s *signIn) refused(ctx context.Context, err error, again account.SignInStep) error {
	problem, final := problemOf(err)
	if problem == "" {
		return err
	}
	if after, throttled := tgerr.AsFloodWait(err); throttled {
		s.now.RetryAt = time.Now().Add(after)
	}
	if final {
		again = account.Failed
	}
	s.log.Info("sign-in refused", "problem", problem, "error", describe(err))
	return s.advance(ctx, again, problem)
}

// problemOf names Telegram's refusal, and tells whether the same sign-in can't go on after it; "" for an error that is no refusal. Sources:
// https://core.telegram.org/method/auth.sendCode#possible-errors, and those of auth.signIn, auth.checkPassword and
// auth.importBotAuthorization.
func problemOf(err error) (problem account.SignInProblem, final bool) {
	refused, ok := tgerr.As(err)
	if errors.Is(err, auth.ErrPasswordInvalid) {
		return account.WrongPassword, false
	}
	if _, unregistered := errors.AsType[*auth.SignUpRequired](err); unregistered {
		return account.UnknownPhone, true
	}
	if !ok {
		return "", false
	}
	switch refused.Type {
	case "PHONE_NUMBER_INVALID":
		return account.WrongPhone, true
	case "PHONE_NUMBER_BANNED":
		return account.BannedPhone, true
	case "PHONE_NUMBER_UNOCCUPIED":
		return account.UnknownPhone, true
	case "PHONE_CODE_INVALID", "PHONE_CODE_EMPTY":
		return account.WrongCode, false
	case "PHONE_CODE_EXPIRED":
		return account.ExpiredCode, true
	case "PASSWORD_HASH_INVALID":
		return account.WrongPassword, false
	case "ACCESS_TOKEN_INVALID", "ACCESS_TOKEN_EXPIRED":
		return account.WrongToken, true
	case "FLOOD_WAIT", "PHONE_PASSWORD_FLOOD", "PHONE_NUMBER_FLOOD":
		return account.FloodWait, false
	}
	return account.Refused, true
}

// advance stores that the sign-in has come to step.
func (s *signIn) advance(ctx context.Context, step account.SignInStep, problem account.SignInProblem) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	s.now.Step, s.now.Problem = step, problem
	if problem != account.FloodWait {
		s.now.RetryAt = time.Time{}
	}
	if err := s.cfg.SignIns.Advance(ctx, s.lease, s.now); err != nil {
		return fmt.Errorf("store the sign-in's step: %w", err)
	}
	s.metrics.signIns.WithLabelValues(string(step)).Inc()
	return nil
}

// open opens what the operator gave.
func (s *signIn) open(sealed string) (string, error) {
	plain, err := s.cfg.Sealer.Open(seal.PurposeSignIn, sealed)
	if err != nil {
		return "", fmt.Errorf("open what was given for the sign-in: %w", err)
	}
	return plain.Reveal(), nil
}

// ask bounds a call to Telegram.
func ask[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return call(ctx)
}

// codeBy returns how Telegram has sent a code (https://core.telegram.org/type/auth.SentCodeType).
func codeBy(t tg.AuthSentCodeTypeClass) string {
	switch t.(type) {
	case *tg.AuthSentCodeTypeApp:
		return "app"
	case *tg.AuthSentCodeTypeSMS, *tg.AuthSentCodeTypeSMSWord, *tg.AuthSentCodeTypeSMSPhrase, *tg.AuthSentCodeTypeFirebaseSMS:
		return "sms"
	case *tg.AuthSentCodeTypeCall:
		return "call"
	case *tg.AuthSentCodeTypeFlashCall:
		return "flash_call"
	case *tg.AuthSentCodeTypeMissedCall:
		return "missed_call"
	case *tg.AuthSentCodeTypeFragmentSMS:
		return "fragment"
	case *tg.AuthSentCodeTypeEmailCode:
		return "email"
	default:
		return "other"
	}
}
