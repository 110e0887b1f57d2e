// Package seal keeps secrets out of sight and safe at rest. Secret is a text that no print, log line or JSON shows; a Ring
// seals secrets with HPKE (RFC 9180) under named keys, so that keys can be changed while what older ones sealed still opens.
// A sealed text opens only for the purpose that it was sealed for, and tells nothing but the id of its key and the length of
// what it holds. The package does no I/O, keeps no key anywhere, and does not hide secrets from who can read the process's memory.
package seal

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// PurposeBotToken is the purpose of the sealed token of an account.Bot. Purposes are part of what is stored: never change one.
const PurposeBotToken = "bot-token"

const (
	// PurposeSession is the purpose of an account.Session.
	PurposeSession = "mtproto-session"
	// PurposeSignIn is the purpose of what an operator and Telegram say to each other in an account.SignIn.
	PurposeSignIn = "sign-in"
	// PurposeServiceMessage is the purpose of an envelope of ingest.SealedTL.
	PurposeServiceMessage = "service-message"
)

const (
	// version stands before every sealed text and is bound into it together with the purpose.
	version = "v1"
	binding = "tgfleet seal " + version + " "

	wantKey = "ID:BASE64, with an ID of up to 32 letters, digits, - and _ and the BASE64 of 32 bytes"
)

var keyIDs = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// The suite of version v1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
func kem() hpke.KEM   { return hpke.DHKEM(ecdh.X25519()) }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.ChaCha20Poly1305() }

// Key is a new key in the forms in which it is handed out. The zero Key is none.
type Key struct {
	veiled
	private Secret
	public  string
}

// NewID returns an id for a key that is made at that time. Keys of one second share it.
func NewID(made time.Time) string { return "k" + made.UTC().Format("20060102-150405") }

// Generate returns a new random key that will be known as id. Its error says which ids are right.
func Generate(id string) (Key, error) {
	if !keyIDs.MatchString(id) {
		return Key{}, fmt.Errorf("key id %q: want up to 32 letters, digits, - and _", id)
	}
	pair, err := kem().GenerateKey()
	if err != nil {
		return Key{}, fmt.Errorf("generate key %s: %w", id, err)
	}
	private, err := pair.Bytes()
	if err != nil {
		return Key{}, fmt.Errorf("write key %s: %w", id, err)
	}
	return Key{
		private: Secret(id + ":" + base64.StdEncoding.EncodeToString(private)),
		public:  id + ":" + base64.StdEncoding.EncodeToString(pair.PublicKey().Bytes()),
	}, nil
}

// Private returns the private half as `id:base64`, the way SECRET_KEYS holds it.
func (k Key) Private() Secret { return k.private }

// Public returns the public half as `id:base64`; it may be shown.
func (k Key) Public() string { return k.public }

// Ring seals with one key and opens with several. It never changes; any number of goroutines may use it.
type Ring struct {
	veiled
	sealing string
	keys    map[string]hpke.PrivateKey
}

// ParseRing reads keys as SECRET_KEYS holds them: `id:base64`, with commas between; the first key seals, all of them open. Its
// error tells all that is wrong, names keys by place or id, and shows nothing of them.
func ParseRing(text Secret) (*Ring, error) {
	ring := &Ring{keys: map[string]hpke.PrivateKey{}}
	var wrong []error
	for i, part := range strings.Split(text.Reveal(), ",") {
		id, encoded, found := strings.Cut(strings.TrimSpace(part), ":")
		// Something that has no colon may be a key whose id was forgotten: it is not shown.
		if !found || !keyIDs.MatchString(id) {
			wrong = append(wrong, fmt.Errorf("key %d has no right id: want %s", i+1, wantKey))
			continue
		}
		private, err := parseKey(encoded)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("key %s is %w: want %s", id, err, wantKey))
		case ring.keys[id] != nil:
			wrong = append(wrong, fmt.Errorf("key id %s stands there twice: want an id of its own for each key", id))
		default:
			ring.keys[id] = private
		}
		if ring.sealing == "" {
			ring.sealing = id
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return ring, nil
}

func parseKey(encoded string) (hpke.PrivateKey, error) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		// The decoder's own error shows a byte of the key.
		return nil, errors.New("no base64")
	}
	private, err := kem().NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%d bytes long", len(raw))
	}
	return private, nil
}

// Seal returns plain sealed for purpose, as `v1.<key id>.<base64url>`. Sealing the same text twice gives two texts.
func (r *Ring) Seal(purpose string, plain []byte) (string, error) {
	sealed, err := hpke.Seal(r.keys[r.sealing].PublicKey(), kdf(), aead(), []byte(binding+purpose), plain)
	if err != nil {
		return "", fmt.Errorf("seal for %s with key %s: %w", purpose, r.sealing, err)
	}
	return version + "." + r.sealing + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Sealing returns the id of the key that seals.
func (r *Ring) Sealing() string { return r.sealing }

// Holds says whether the ring opens what the key of that id sealed.
func (r *Ring) Holds(id string) bool { return r.keys[id] != nil }

// KeyID returns the id of the key that sealed is sealed with, and false when it is no sealed text. It opens nothing.
func KeyID(sealed string) (id string, ok bool) {
	parts := strings.Split(sealed, ".")
	if len(parts) != 3 || parts[0] != version || !keyIDs.MatchString(parts[1]) {
		return "", false
	}
	return parts[1], true
}

// Open returns what Seal sealed for the same purpose. Every error is a fault.Permanent: with this ring the text never opens. The error
// names the key that would be needed and holds nothing of the text.
func (r *Ring) Open(purpose, sealed string) (Secret, error) {
	plain, err := r.open(purpose, sealed)
	if err != nil {
		return "", fault.As(fault.Permanent, fmt.Errorf("open what is sealed for %s: %w", purpose, err))
	}
	return Secret(plain), nil
}

func (r *Ring) open(purpose, sealed string) ([]byte, error) {
	id, ok := KeyID(sealed)
	if !ok {
		return nil, errors.New("no sealed text: want " + version + ".<key id>.<base64url>")
	}
	private, held := r.keys[id]
	if !held {
		return nil, fmt.Errorf("key %s is not in the ring", id)
	}
	ciphertext, err := base64.RawURLEncoding.Strict().DecodeString(sealed[strings.LastIndexByte(sealed, '.')+1:])
	if err != nil {
		return nil, errors.New("no base64url after the key id")
	}
	plain, err := hpke.Open(private, kdf(), aead(), []byte(binding+purpose), ciphertext)
	if err != nil {
		return nil, fmt.Errorf("with key %s: changed, cut, sealed for another purpose or with another key of that id", id)
	}
	return plain, nil
}
