// Package batch is the format in which envelopes travel together, through the queue and through the spool: one version byte,
// one codec byte, and a body of length-prefixed envelopes. A batch that was ever written can be read for ever; the
// files in testdata hold one of each kind. Decode treats its input as hostile: it returns an error or what Encode was given,
// its times to the microsecond and in UTC, and bounds the bytes and the envelopes that a few bytes can ask for.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Batch is some envelopes on their way to a worker.
type Batch struct {
	// SpoolID names the spool row that holds the same envelopes, or is 0. The archive deletes that row as it commits them.
	SpoolID   int64
	Envelopes []ingest.Envelope
}

// The bytes that a batch begins with.
const (
	version1 = 1

	codecPlain = 0
	codecS2    = 1
)

// maxDecodedSizeBytes bounds what a few compressed bytes can ask for. The largest batch that a source makes is one body
// of 64 MiB from a poll; the bound leaves room for its framing.
const maxDecodedSizeBytes = 65 << 20

// maxEnvelopes is far more than a batch ever holds; the smallest envelope takes more memory than bytes.
const maxEnvelopes = 1 << 16

// envelopeOverheadBytes is more than the framing of an envelope ever takes.
const envelopeOverheadBytes = 64

var errTruncated = errors.New("truncated")

// SizeBytes returns how much env adds to a batch at most, before compression.
func SizeBytes(env *ingest.Envelope) int {
	return envelopeOverheadBytes + len(env.Request) + len(env.Raw)
}

// Encode writes b. It compresses the body and keeps the plain one where that is smaller.
func Encode(b Batch) []byte {
	size := envelopeOverheadBytes
	for i := range b.Envelopes {
		size += SizeBytes(&b.Envelopes[i])
	}
	body := make([]byte, 0, size)
	body = binary.AppendVarint(body, b.SpoolID)
	for i := range b.Envelopes {
		body = appendEnvelope(body, &b.Envelopes[i])
	}
	out := make([]byte, 2, 2+s2.MaxEncodedLen(len(body)))
	out[0], out[1] = version1, codecS2
	if packed := s2.Encode(out[2:cap(out)], body); len(packed) < len(body) {
		return out[:2+len(packed)]
	}
	out[1] = codecPlain
	return append(out[:2], body...)
}

func appendEnvelope(b []byte, env *ingest.Envelope) []byte {
	b = append(b, byte(env.Source.Transport), byte(env.Origin), byte(env.Format))
	b = binary.AppendVarint(b, env.Source.Account)
	b = binary.AppendVarint(b, env.ReceivedAt.UnixMicro())
	b = binary.AppendUvarint(b, uint64(env.Layer))
	b = appendBytes(b, env.Request)
	return appendBytes(b, env.Raw)
}

func appendBytes(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// Decode reads what Encode wrote. The envelopes' bytes share one allocation. Every error is a fault.Permanent and quotes nothing.
func Decode(data []byte) (Batch, error) {
	b, err := decode(data)
	if err != nil {
		return Batch{}, fault.As(fault.Permanent, fmt.Errorf("decode batch of %d bytes: %w", len(data), err))
	}
	return b, nil
}

func decode(data []byte) (Batch, error) {
	if len(data) < 2 {
		return Batch{}, errTruncated
	}
	if data[0] != version1 {
		return Batch{}, fmt.Errorf("version %d: want %d; was it written by a newer program?", data[0], version1)
	}
	body, err := unpack(data[1], data[2:])
	if err != nil {
		return Batch{}, err
	}
	r := reader{rest: body}
	b := Batch{SpoolID: r.varint()}
	for r.err == nil && len(r.rest) > 0 {
		if len(b.Envelopes) == maxEnvelopes {
			return Batch{}, fmt.Errorf("more than %d envelopes", maxEnvelopes)
		}
		b.Envelopes = append(b.Envelopes, r.envelope())
	}
	return b, r.err
}

func unpack(codec byte, packed []byte) ([]byte, error) {
	switch codec {
	case codecPlain:
		return packed, nil
	case codecS2:
		size, err := s2.DecodedLen(packed)
		if err != nil {
			return nil, fmt.Errorf("s2: %w", err)
		}
		if size > maxDecodedSizeBytes {
			return nil, fmt.Errorf("s2: %d bytes decoded: want at most %d", size, maxDecodedSizeBytes)
		}
		body, err := s2.Decode(nil, packed)
		if err != nil {
			return nil, fmt.Errorf("s2: %w", err)
		}
		return body, nil
	default:
		return nil, fmt.Errorf("codec %d: unknown", codec)
	}
}

// reader reads fields off the front of rest; after the first mistake it keeps err and reads zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) envelope() ingest.Envelope {
	head := r.take(3)
	if r.err != nil {
		return ingest.Envelope{}
	}
	return ingest.Envelope{
		Origin:     ingest.Origin(head[1]),
		Format:     ingest.Format(head[2]),
		Source:     ingest.Source{Transport: ingest.Transport(head[0]), Account: r.varint()},
		ReceivedAt: time.UnixMicro(r.varint()).UTC(),
		Layer:      r.layer(),
		Request:    r.bytes(),
		Raw:        r.bytes(),
	}
}

func (r *reader) varint() int64 {
	n, size := binary.Varint(r.rest)
	return advance(r, n, size)
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	return advance(r, n, size)
}

func advance[N int64 | uint64](r *reader, n N, size int) N {
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) layer() uint32 {
	n := r.uvarint()
	if n > 1<<32-1 {
		r.fail()
		return 0
	}
	return uint32(n)
}

// bytes returns nil for an empty field, as it was before Encode.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail()
	}
	if r.err != nil || n == 0 {
		return nil
	}
	return r.take(int(n)) //nolint:gosec // bounded by len(r.rest) above
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errTruncated
	}
	r.rest = nil
}
