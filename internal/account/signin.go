package account

import "time"

// SignIn is how a connector comes to a session: a conversation between an operator, who writes what they are asked for, and the listener
// that holds the connector's lease, which speaks with Telegram. It is stored after every step, so that another listener can carry it on.
type SignIn struct {
	ConnectorID string
	Method      SignInMethod
	Step        SignInStep
	// Attempt grows with every begin of a sign-in of the connector; a write of an older attempt is refused.
	Attempt int64
	// SealedPhone, SealedCode, SealedPassword and SealedToken are what the operator gave, sealed; empty until then, and again once used.
	SealedPhone    string
	SealedCode     string
	SealedPassword string
	SealedToken    string
	// SealedCodeHash is Telegram's name for the code that it sent, sealed.
	SealedCodeHash string
	// CodeBy says where Telegram sent the code: app, sms, call, flash_call, missed_call, fragment, email or other.
	CodeBy string
	// SealedQR is the tg://login URL to show as a QR code, sealed; QRExpiresAt is until when it is good.
	SealedQR    string
	QRExpiresAt time.Time
	// Problem is why the last input was refused, or why the sign-in failed; empty while nothing is wrong.
	Problem SignInProblem
	// RetryAt is when Telegram will take the next try, after a flood wait; the zero time otherwise.
	RetryAt time.Time
	// ExpiresAt is ten minutes after the beginning, on the database's clock.
	ExpiresAt time.Time
}

// SignInTime is how long a sign-in may take.
const SignInTime = 10 * time.Minute

// SignInMethod is how somebody proves that an account is theirs.
type SignInMethod string

// The methods.
const (
	ByCode  SignInMethod = "code"
	ByQR    SignInMethod = "qr"
	ByToken SignInMethod = "token"
)

// SignInStep is where a sign-in stands.
type SignInStep string

// The steps. In Begun, CodeGiven and PasswordGiven it is the listener's turn, in CodeWanted, QRShown and PasswordWanted the
// operator's; Done, Failed and Cancelled are the ends.
const (
	Begun          SignInStep = "begun"
	CodeWanted     SignInStep = "code_wanted"
	CodeGiven      SignInStep = "code_given"
	QRShown        SignInStep = "qr_shown"
	PasswordWanted SignInStep = "password_wanted"
	PasswordGiven  SignInStep = "password_given"
	Done           SignInStep = "done"
	Failed         SignInStep = "failed"
	Cancelled      SignInStep = "cancelled"
)

// Ended says whether nothing more happens after s.
func (s SignInStep) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// SignInProblem is why Telegram refused something.
type SignInProblem string

// The problems.
const (
	WrongPhone    SignInProblem = "phone_invalid"
	BannedPhone   SignInProblem = "phone_banned"
	UnknownPhone  SignInProblem = "phone_unregistered"
	WrongCode     SignInProblem = "code_invalid"
	ExpiredCode   SignInProblem = "code_expired"
	WrongPassword SignInProblem = "password_invalid"
	WrongToken    SignInProblem = "token_invalid"
	FloodWait     SignInProblem = "flood_wait"
	TimedOut      SignInProblem = "timed_out"
	OtherAccount  SignInProblem = "other_account"
	Refused       SignInProblem = "refused"
)
