package mtproto

import (
	"errors"

	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/account"
)

var (
	// errKeyForgotten is why a client ends when Telegram does not know the connector's key any more, and gotd has made a new one.
	errKeyForgotten = errors.New("telegram has forgotten the session's key")
	// errOtherAccount is why a client ends when its session belongs to another account than the connector.
	errOtherAccount = errors.New("the session belongs to another account")
	// errNoSession is why a client ends that has no session to connect with.
	errNoSession = errors.New("no session is stored")
	// errStuck is why a client ends when Telegram does not answer it any more.
	errStuck = errors.New("telegram does not answer")
	// errEnded is why a client ends when gotd does not say why.
	errEnded = errors.New("the client ended")
	// errRedisChanged is why a client ends when another Redis has taken over: the next one begins further back.
	errRedisChanged = errors.New("another redis has taken over")
)

// verdictOf returns what becomes of a connector whose client ended with err: account.Connected when it is to be started again. The reason
// names Telegram's kind of error and nothing of the account. Source of the codes: https://core.telegram.org/api/errors.
func verdictOf(err error) (status account.ConnectorStatus, reason string) {
	refused, fromTelegram := tgerr.As(err)
	switch {
	case errors.Is(err, errKeyForgotten), errors.Is(err, errNoSession):
		return account.NeedsLogin, reasonOf(err)
	case errors.Is(err, errOtherAccount):
		return account.Quarantined, errOtherAccount.Error()
	case fromTelegram && refused.Code == codeUnauthorized:
		return account.NeedsLogin, refused.Type
	case fromTelegram && refused.Code == codeNotAcceptable:
		return account.Quarantined, refused.Type
	default:
		return account.Connected, ""
	}
}

// The codes of Telegram's errors (https://core.telegram.org/api/errors).
const (
	codeBadRequest    = 400
	codeUnauthorized  = 401
	codeForbidden     = 403
	codeNotAcceptable = 406
	codeFlood         = 420
)

// reasonOf returns the text of the error of ours that err is.
func reasonOf(err error) string {
	if errors.Is(err, errKeyForgotten) {
		return errKeyForgotten.Error()
	}
	return errNoSession.Error()
}
