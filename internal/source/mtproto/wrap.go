package mtproto

import (
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// wrapper puts what Telegram sent to one account into envelopes. It has no state: any number of goroutines may use it.
type wrapper struct {
	source ingest.Source
	sealer Sealer
}

// push returns the envelopes of a container that Telegram pushed. What Telegram itself writes to the account comes in an envelope that
// is sealed, the rest in one that is not; gotd does not hand out the bytes as they came, so both are written anew.
func (w wrapper) push(u tg.UpdatesClass, at time.Time) ([]ingest.Envelope, error) {
	rest, taken := withoutService(u)
	var envelopes []ingest.Envelope
	if taken {
		sealed, err := w.sealed(u, nil, ingest.Live, at)
		if err != nil {
			return nil, err
		}
		envelopes = append(envelopes, sealed)
	}
	if rest == nil {
		return envelopes, nil
	}
	plain, err := w.plain(rest, nil, ingest.Live, at)
	return append(envelopes, plain), err
}

// difference returns the envelopes of the answer d to request.
func (w wrapper) difference(request bin.Encoder, d tg.UpdatesDifferenceClass, at time.Time) ([]ingest.Envelope, error) {
	rest, taken := differenceWithoutService(d)
	plain, err := w.plain(rest, request, ingest.Difference, at)
	if err != nil || !taken {
		return []ingest.Envelope{plain}, err
	}
	sealed, err := w.sealed(d, request, ingest.Difference, at)
	return []ingest.Envelope{sealed, plain}, err
}

// history returns the envelopes of a page of history, which answers request.
func (w wrapper) history(request bin.Encoder, page tg.MessagesMessagesClass, at time.Time) ([]ingest.Envelope, error) {
	rest, taken := historyWithoutService(page)
	plain, err := w.plain(rest, request, ingest.Backfill, at)
	if err != nil || !taken {
		return []ingest.Envelope{plain}, err
	}
	sealed, err := w.sealed(page, request, ingest.Backfill, at)
	return []ingest.Envelope{sealed, plain}, err
}

// plain returns an envelope of answer, which answers request; request may be nil.
func (w wrapper) plain(answer, request bin.Encoder, origin ingest.Origin, at time.Time) (ingest.Envelope, error) {
	raw, err := encode(answer)
	if err != nil {
		return ingest.Envelope{}, err
	}
	asked, err := encode(request)
	return ingest.Envelope{
		Source: w.source, ReceivedAt: at, Origin: origin, Format: ingest.MTProtoTL, Layer: tg.Layer, Request: asked, Raw: raw,
	}, err
}

// sealed returns the envelope of plain with its bytes sealed.
func (w wrapper) sealed(answer, request bin.Encoder, origin ingest.Origin, at time.Time) (ingest.Envelope, error) {
	e, err := w.plain(answer, request, origin, at)
	if err != nil {
		return ingest.Envelope{}, err
	}
	text, err := w.sealer.Seal(seal.PurposeServiceMessage, e.Raw)
	if err != nil {
		return ingest.Envelope{}, fmt.Errorf("seal what Telegram itself wrote: %w", err)
	}
	e.Format, e.Raw = ingest.SealedTL, []byte(text)
	return e, nil
}

// encode returns the TL of v, boxed; nil for nil. Its error names the type and nothing that is in it.
func encode(v bin.Encoder) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	var b bin.Buffer
	if err := v.Encode(&b); err != nil {
		return nil, fmt.Errorf("encode %T", v)
	}
	return b.Buf, nil
}
