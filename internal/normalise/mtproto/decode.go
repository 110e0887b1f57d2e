package mtproto

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// largestRawBytes bounds what is decoded at all: Telegram's largest answers are far below it. A vector's length asks for nothing by itself, because
// the decoder makes room for 1023 elements at most before it has read one, and every element takes bytes.
const largestRawBytes = 4 << 20

// decode reads the TL object of env, and the request that it answers.
func decode(env ingest.Envelope) (*container, *normalise.Rejected) {
	if len(env.Raw) > largestRawBytes {
		return nil, malformed("larger than " + strconv.Itoa(largestRawBytes) + " bytes")
	}
	if tooDeep(env.Raw) {
		return nil, &normalise.Rejected{Class: normalise.TooDeep, Reason: "nested deeper than " + strconv.Itoa(deepest) + " levels"}
	}
	b := bin.Buffer{Buf: env.Raw}
	id, err := b.PeekID()
	if err != nil {
		return nil, unreadable(env.Raw, &b, err)
	}
	var c *container
	switch id {
	case tg.UpdatesDifferenceEmptyTypeID, tg.UpdatesDifferenceTypeID, tg.UpdatesDifferenceSliceTypeID, tg.UpdatesDifferenceTooLongTypeID:
		c, err = read(&b, tg.DecodeUpdatesDifference, ofDifference)
	case tg.UpdatesChannelDifferenceEmptyTypeID, tg.UpdatesChannelDifferenceTypeID, tg.UpdatesChannelDifferenceTooLongTypeID:
		c, err = read(&b, tg.DecodeUpdatesChannelDifference, ofChannelDifference)
	case tg.MessagesMessagesTypeID, tg.MessagesMessagesSliceTypeID, tg.MessagesChannelMessagesTypeID, tg.MessagesMessagesNotModifiedTypeID:
		c, err = read(&b, tg.DecodeMessagesMessages, ofHistory)
	default:
		c, err = read(&b, tg.DecodeUpdates, ofPush)
	}
	switch {
	case err != nil:
		return nil, unreadable(env.Raw, &b, err)
	case b.Len() > 0:
		return nil, malformed("bytes left from offset " + strconv.Itoa(len(env.Raw)-b.Len()) + " on")
	}
	if rejected := c.answers(env); rejected != nil {
		return nil, rejected
	}
	return c, nil
}

// read decodes one boxed object and turns it into a container.
func read[T any](b *bin.Buffer, decode func(*bin.Buffer) (T, error), of func(T) *container) (*container, error) {
	object, err := decode(b)
	if err != nil {
		return nil, err
	}
	return of(object), nil
}

// answers reads the request that c answers: which chat it is about, and from where on. A push answers none, and a container without its request
// is taken for what it says itself.
func (c *container) answers(env ingest.Envelope) *normalise.Rejected {
	if len(env.Request) == 0 {
		return nil
	}
	b := bin.Buffer{Buf: env.Request}
	id, err := b.PeekID()
	if err == nil {
		switch id {
		case tg.UpdatesGetDifferenceRequestTypeID:
			var r tg.UpdatesGetDifferenceRequest
			err = r.Decode(&b)
			c.fromPts = r.Pts
		case tg.UpdatesGetChannelDifferenceRequestTypeID:
			var r tg.UpdatesGetChannelDifferenceRequest
			err = r.Decode(&b)
			c.fromPts, c.asked = r.Pts, ofInputChannel(r.Channel)
		case tg.MessagesGetHistoryRequestTypeID:
			var r tg.MessagesGetHistoryRequest
			err = r.Decode(&b)
			c.asked = ofInputPeer(r.Peer, env.Source.Account)
		default:
			err = bin.NewUnexpectedID(id)
		}
	}
	if err == nil && b.Len() > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		r := unreadable(env.Request, &b, err)
		r.Reason = "request: " + r.Reason
		return r
	}
	return nil
}

// unreadable says where and how raw is not what its layer says. Of the decoder's errors only constructors and names of types are repeated.
func unreadable(raw []byte, b *bin.Buffer, err error) *normalise.Rejected {
	at := " at offset " + strconv.Itoa(len(raw)-b.Len())
	var unexpected *bin.UnexpectedIDErr
	var length *bin.InvalidLengthError
	switch {
	case errors.As(err, &unexpected):
		return malformed(fmt.Sprintf("unexpected constructor %#08x", unexpected.ID) + at)
	case errors.As(err, &length):
		return malformed("negative length" + at)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("cut off" + at)
	default:
		return malformed("unreadable" + at)
	}
}

func malformed(reason string) *normalise.Rejected {
	return &normalise.Rejected{Class: normalise.Malformed, Reason: reason}
}

func unknownLayer(layer uint32) *normalise.Rejected {
	return &normalise.Rejected{Class: normalise.UnknownLayer, Reason: "no decoder for layer " + strconv.FormatUint(uint64(layer), 10)}
}
