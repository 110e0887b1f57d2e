// Package ingest holds the words for an update on its way from Telegram to the archive: the envelope around its raw bytes,
// where it came from, and the sink that takes it. It guarantees nothing and parses nothing; it uses the standard
// library only.
package ingest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Transport is the way by which Telegram hands over updates.
type Transport uint8

// The transports. Their numbers are written into queued batches and row versions: never renumber them.
const (
	BotAPI  Transport = 1
	MTProto Transport = 2
)

var transportNames = map[Transport]string{BotAPI: "botapi", MTProto: "mtproto"}

// String returns the transport's word, as it stands before the colon of a source.
func (t Transport) String() string {
	if name, ok := transportNames[t]; ok {
		return name
	}
	return "transport-" + strconv.Itoa(int(t))
}

// Source is one account of Telegram's that receives updates, over one transport.
type Source struct {
	Transport Transport
	// Account is Telegram's id of the bot or of the user account.
	Account int64
}

// String returns the source as tables and commands show it: `botapi:<bot id>` or `mtproto:<account id>`.
func (s Source) String() string {
	return s.Transport.String() + ":" + strconv.FormatInt(s.Account, 10)
}

// ParseSource reads what String wrote. Its error says what would be right.
func ParseSource(text string) (Source, error) {
	name, id, _ := strings.Cut(text, ":")
	account, err := strconv.ParseInt(id, 10, 64)
	for transport, known := range transportNames {
		if err == nil && name == known {
			return Source{Transport: transport, Account: account}, nil
		}
	}
	return Source{}, fmt.Errorf("source %q: want botapi:<bot id> or mtproto:<account id>", text)
}

// Origin is why an update is on its way now. Its numbers are written into queued batches: never renumber them.
type Origin uint8

// The origins. Side effects towards people take only events of Live and Difference.
const (
	// Live updates were pushed or polled as they happened.
	Live Origin = 1
	// Difference updates were asked for after a gap.
	Difference Origin = 2
	// Backfill updates come from a chat's history.
	Backfill Origin = 3
	// Replay updates come from our own ledger or dead letters.
	Replay Origin = 4
)

// String returns the origin's word.
func (o Origin) String() string {
	switch o {
	case Live:
		return "live"
	case Difference:
		return "difference"
	case Backfill:
		return "backfill"
	case Replay:
		return "replay"
	default:
		return "origin-" + strconv.Itoa(int(o))
	}
}

// Format is how an envelope's raw bytes are written. Its numbers are written into queued batches: never renumber them.
type Format uint8

// The formats.
const (
	// BotAPIJSON is one Update object of the Bot API, as Telegram sent it.
	BotAPIJSON Format = 1
	// MTProtoTL is one TL object, in the layer that the envelope names.
	MTProtoTL Format = 2
	// QueuedBatch is a whole batch of envelopes, as it travels through the queue: what a dead letter holds when nobody could open
	// the batch. A program that can open it takes it for the envelopes in it.
	QueuedBatch Format = 3
	// SealedTL is a TL object that nobody but a holder of the secret keys may read (package seal): Telegram's login codes.
	SealedTL Format = 4
)

// Kind is the kind of an update: for the Bot API the name of the field that an Update carries beside update_id.
type Kind string

// KindUnknown stands for an update whose kind is not known to the normaliser that read it.
const KindUnknown Kind = "unknown"

// Hash is the first 128 bits of SHA-256 over an update's raw bytes.
type Hash [16]byte

// HashOf returns the hash of raw.
func HashOf(raw []byte) Hash {
	sum := sha256.Sum256(raw)
	return Hash(sum[:16])
}

// Envelope is one update as Telegram delivered it, sealed by a source before anything is parsed. Whoever holds an envelope
// may read Raw and must not change it.
type Envelope struct {
	Source Source
	// ReceivedAt is when the first of our processes took the update. It is stamped once and survives spool, retry and replay.
	ReceivedAt time.Time
	Origin     Origin
	Format     Format
	// Layer is the TL layer of Raw; 0 for the Bot API.
	Layer uint32
	// Request is the TL request that this update answers, for differences and history, in the layer of Raw; empty for live updates.
	Request []byte
	// Raw is the exact bytes that Telegram sent.
	Raw []byte
}

// Sink takes envelopes into safety. Accept returns nil only after env is durable in the queue or in the spool, and a
// fault.Transient error when neither takes it now; Telegram must then keep the update. Any number of goroutines may
// call it. An envelope that is accepted twice is harmless. When ctx ends, Accept returns early and env may still become durable.
type Sink interface {
	Accept(ctx context.Context, env Envelope) error
}
