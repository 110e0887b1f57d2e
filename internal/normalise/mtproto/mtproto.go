// Package mtproto normalises what Telegram tells user accounts and bots over MTProto (https://core.telegram.org/api/updates): pushed
// containers of updates, differences, and pages of history, each one boxed TL object, told apart by its constructor.
//
// It uses the same words as the normaliser of the Bot API: ids are in the style of the Bot API, and a channel's post that
// several accounts and bots see has one key and one content hash. Everything that Telegram sends is taken: what the normaliser has no
// word for it passes over, because the envelope keeps the raw bytes. It refuses only bytes that are no TL of a layer that
// it knows, and ids and dates that can't be. Messages that belong to nobody's numbering are passed over on purpose: scheduled ones, quick
// replies, ephemeral ones, and what bots see through business connections and as guests.
package mtproto

import (
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// Normaliser reads ingest.MTProtoTL. It has no state: any number of goroutines may use one.
type Normaliser struct{}

// New returns a normaliser for ingest.MTProtoTL.
func New() *Normaliser { return &Normaliser{} }

// decoders holds the reader of each layer that raw bytes may be in. A layer leaves it only when no ledger and no dead letter has it any more.
var decoders = map[uint32]func(ingest.Envelope) (*container, *normalise.Rejected){
	tg.Layer: decode,
}

// Normalise returns what the TL object in env says. Its errors are *normalise.Rejected.
func (n *Normaliser) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	read, known := decoders[env.Layer]
	if !known {
		return content.ChangeSet{}, unknownLayer(env.Layer)
	}
	c, rejected := read(env)
	if rejected != nil {
		return content.ChangeSet{}, rejected
	}
	row := content.Update{
		Envelope:          env,
		Hash:              ingest.HashOf(env.Raw),
		UpdateID:          c.updateID(),
		Kind:              c.name(),
		NormaliserVersion: normalise.Version,
	}
	b := builder{update: &row, container: c}
	row.ChatID = b.about()
	b.peers()
	for _, u := range c.updates {
		b.apply(u)
	}
	for _, m := range c.messages {
		b.message(m, occasion{pts: c.ptsOf(m)})
	}
	b.holes()
	if b.wrong != "" {
		return content.ChangeSet{}, &normalise.Rejected{
			Class: normalise.Malformed, UpdateID: row.UpdateID, Reason: string(row.Kind) + ": " + b.wrong,
		}
	}
	b.changes.Update = row
	return b.changes, nil
}
