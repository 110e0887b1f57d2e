package mtproto

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/gotd/td/session"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// keyring is a client's session storage, for as long as the connector's lease is held. It lends out the stored session, and takes
// back another one only while somebody signs in: when Telegram does not know a key any more, gotd makes a new one, which
// nobody has signed in with, and stores it.
type keyring struct {
	sessions  Sessions
	sealer    Sealer
	lease     account.Lease
	connector string
	// attempt is the sign-in under way; 0 for none.
	attempt int64
	// forgotten is called when gotd brings another key than the authorised one.
	forgotten func()

	// stored is closed once there is a version: gotd says that it is connected before it has stored the key.
	stored chan struct{}

	// mu guards plain and version: gotd's connections and whoever signs in use them.
	mu      sync.Mutex
	plain   []byte
	version int64
}

// storedVersion waits until the session is stored, and returns its version.
func (k *keyring) storedVersion(ctx context.Context) (int64, error) {
	select {
	case <-k.stored:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the session to be stored: %w", ctx.Err())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version, nil
}

// openKeyring loads the session that the connector connects with. Its error is errNoSession when there is none.
func openKeyring(ctx context.Context, h *holder, l account.Lease, forgotten func()) (*keyring, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	stored, found, err := h.cfg.Sessions.Load(ctx, h.id)
	if err != nil {
		return nil, err
	}
	if !found || !stored.Authorised {
		return nil, errNoSession
	}
	k := &keyring{
		sessions: h.cfg.Sessions, sealer: h.cfg.Sealer, lease: l, connector: h.id, forgotten: forgotten,
		stored: make(chan struct{}), version: stored.Version,
	}
	err = k.open(stored)
	return k, err
}

func (k *keyring) open(stored account.Session) error {
	plain, err := k.sealer.Open(seal.PurposeSession, stored.Sealed)
	if err != nil {
		return fmt.Errorf("open session %d: %w", stored.Version, err)
	}
	k.plain = []byte(plain.Reveal())
	return nil
}

// LoadSession implements session.Storage.
func (k *keyring) LoadSession(context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.plain == nil {
		return nil, session.ErrNotFound
	}
	return bytes.Clone(k.plain), nil
}

// StoreSession implements session.Storage. gotd stores the session at every connection; only another key is news.
func (k *keyring) StoreSession(ctx context.Context, plain []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	same, err := sameKey(ctx, k.plain, plain)
	if err != nil {
		return err
	}
	if same {
		return nil
	}
	if k.attempt == 0 {
		k.forgotten()
		return errKeyForgotten
	}
	sealed, err := k.sealer.Seal(seal.PurposeSession, plain)
	if err != nil {
		return fmt.Errorf("seal a session: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	version, err := k.sessions.Save(ctx, k.lease, k.connector, account.Session{Sealed: sealed}, k.attempt)
	if err != nil {
		return fmt.Errorf("store a session: %w", err)
	}
	if k.version == 0 {
		close(k.stored)
	}
	k.plain, k.version = bytes.Clone(plain), version
	return nil
}

// sameKey tells whether two of gotd's sessions have the same key.
func sameKey(ctx context.Context, a, b []byte) (bool, error) {
	if a == nil {
		return false, nil
	}
	before, err := (&session.Loader{Storage: frozen(a)}).Load(ctx)
	if err != nil {
		return false, fault.As(fault.Permanent, fmt.Errorf("read the stored session: %w", err))
	}
	after, err := (&session.Loader{Storage: frozen(b)}).Load(ctx)
	if err != nil {
		return false, fault.As(fault.Permanent, fmt.Errorf("read a session: %w", err))
	}
	return bytes.Equal(before.AuthKeyID, after.AuthKeyID), nil
}

// frozen is a session.Storage of one session that never changes.
type frozen []byte

func (f frozen) LoadSession(context.Context) ([]byte, error) { return f, nil }
func (f frozen) StoreSession(context.Context, []byte) error  { return nil }
