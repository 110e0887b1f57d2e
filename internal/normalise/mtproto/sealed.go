package mtproto

import (
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// Sealed reads ingest.SealedTL. It has no state: any number of goroutines may use one.
type Sealed struct{}

// NewSealed returns a normaliser for ingest.SealedTL.
func NewSealed() *Sealed { return &Sealed{} }

// Normalise returns the ledger's row and nothing else: nobody without the secret keys may know what is in a login code's message, and
// so nothing of it reaches the archive or an event. It refuses nothing.
func (s *Sealed) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	return content.ChangeSet{Update: content.Update{
		Envelope:          env,
		Hash:              ingest.HashOf(env.Raw),
		Kind:              "sealed",
		ChatID:            content.TelegramItself,
		NormaliserVersion: normalise.Version,
	}}, nil
}
