package account

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Connector is an account whose updates the fleet receives over MTProto, as its own client.
type Connector struct {
	// ID is opaque: it names the connector in commands, leases and logs, and is made of nothing that Telegram knows.
	ID string
	// Label is what the operator calls it.
	Label string
	Kind  ConnectorKind
	// Status is what its holder last found; see the statuses.
	Status ConnectorStatus
	// AccountID is Telegram's id of the account; 0 until it has signed in once.
	AccountID int64
	Username  string
	Device    Device
	// LastError says why the connector does not receive; empty while it does. It names a kind of error, never a phone number or a secret.
	LastError string
	// LastUpdateAt is when an update last came; the zero time when none did.
	LastUpdateAt time.Time
	CreatedAt    time.Time
}

// Source returns the source of the connector's updates. It means nothing until the connector has signed in.
func (c *Connector) Source() ingest.Source {
	return ingest.Source{Transport: ingest.MTProto, Account: c.AccountID}
}

// ConnectorKind is what kind of account a connector is.
type ConnectorKind string

// The kinds of connectors.
const (
	UserAccount ConnectorKind = "user"
	BotAccount  ConnectorKind = "bot"
)

// ConnectorStatus is where a connector stands.
type ConnectorStatus string

// The statuses of connectors.
const (
	// New connectors have never signed in.
	New ConnectorStatus = "new"
	// SigningIn connectors are on their way through a SignIn.
	SigningIn ConnectorStatus = "signing_in"
	// Connected connectors are held, or to be held, by a listener.
	Connected ConnectorStatus = "connected"
	// NeedsLogin connectors had a session that Telegram no longer takes (an error 401): somebody must sign in again.
	NeedsLogin ConnectorStatus = "needs_login"
	// Quarantined connectors were refused by Telegram in a way that trying again makes worse (an error 406): somebody must look.
	Quarantined ConnectorStatus = "quarantined"
	// Disabled connectors are left alone because somebody said so.
	Disabled ConnectorStatus = "disabled"
)

// Device is what Telegram shows of a connector in the account's list of sessions. It stays the same for a connector's life.
type Device struct {
	Model         string
	SystemVersion string
	AppVersion    string
}

// Session is one version of a connector's MTProto session: the key that Telegram knows the connector by.
type Session struct {
	Version int64
	// Authorised says whether somebody had signed in with the key when it was stored.
	Authorised bool
	// Sealed is the session itself, sealed (package seal).
	Sealed string
}

// Identity is the account that somebody has signed in to, with the session of that version.
type Identity struct {
	AccountID      int64
	Username       string
	SessionVersion int64
}

// UpdateState is how far a source has told its common updates (https://core.telegram.org/api/updates#message-related-event-sequences).
type UpdateState struct {
	Pts, Qts, Date, Seq int
	// FollowedFrom is from which message on the account's private chats and basic groups, which number together, are followed; 0 when unknown.
	FollowedFrom int
}

// Following is from where on a connector follows a chat.
type Following struct {
	ConnectorID string
	// ChatID is the channel in the style of the Bot API; 0 for the private chats and basic groups, which the account numbers together.
	ChatID content.ChatID
	// From is the first message that is followed; 0 when unknown.
	From content.MessageID
	// Inaccessible says since when Telegram refuses the channel to the account; the zero time while it does not.
	Inaccessible time.Time
}

// ChannelState is how far a channel has told its updates to one account. ChannelID is Telegram's own, positive.
type ChannelState struct {
	ChannelID int64
	Pts       int
	// FollowedFrom is from which message on the channel is followed; 0 when unknown.
	FollowedFrom int
	// AccessHash is what the account proves with that it may see the channel; it is good for no other account.
	AccessHash int64
	// Inaccessible says since when Telegram refuses the channel to the account; the zero time while it does not.
	Inaccessible time.Time
}
