package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// The fields of asynq's TaskMessage (Protocol Buffers) that matter here, and what the wire says about a field's shape.
const (
	fieldID      = 3
	fieldQueue   = 4
	fieldRetried = 6

	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// textFields are those that asynq does not decode unless they are UTF-8.
var textFields = map[uint64]bool{1: true, fieldID: true, fieldQueue: true, 7: true, 10: true, 14: true}

var errForeign = errors.New("it names another task")

// retriedOf reads how often a task's message says that its task was retried. An error means that asynq can't run the task from this
// message: it can't decode it, or takes it for the message of another task, and leaves it active without an owner each
// time it is taken. It shows nothing of the message.
func retriedOf(task taskName, message []byte) (retried int, err error) {
	var id, queue string
	rest := message
	for len(rest) > 0 {
		f, err := nextField(&rest)
		if err != nil {
			return 0, err
		}
		switch {
		case f.wire == wireBytes && textFields[f.number] && !utf8.Valid(f.bytes):
			return 0, fmt.Errorf("field %d is not UTF-8", f.number)
		case f.wire == wireBytes && f.number == fieldID:
			id = string(f.bytes)
		case f.wire == wireBytes && f.number == fieldQueue:
			queue = string(f.bytes)
		case f.wire == wireVarint && f.number == fieldRetried:
			retried = int(int32(f.varint)) //nolint:gosec // the field is an int32: its lower half counts
		}
	}
	if id != task.id || queue != task.queue {
		return 0, errForeign
	}
	return retried, nil
}

// withRetried returns what makes asynq read n retries when it is appended to a task's message. In Protocol Buffers the last value of
// a field counts.
func withRetried(n int) []byte {
	return binary.AppendUvarint([]byte{fieldRetried<<3 | wireVarint}, uint64(n)) //nolint:gosec // a count is never negative
}

type field struct {
	number, wire uint64
	varint       uint64
	bytes        []byte
}

var errCutShort = errors.New("it is cut short")

// nextField takes the next field off the front of rest. Groups, which asynq never writes, are errors.
func nextField(rest *[]byte) (f field, err error) {
	tag, err := nextVarint(rest)
	if err != nil {
		return field{}, err
	}
	f.number, f.wire = tag>>3, tag&7
	if f.number == 0 || f.number > math.MaxInt32>>2 {
		return field{}, fmt.Errorf("no field has the number %d", f.number)
	}
	length := uint64(0)
	switch f.wire {
	case wireVarint:
		f.varint, err = nextVarint(rest)
	case wireFixed64:
		length = 8
	case wireFixed32:
		length = 4
	case wireBytes:
		length, err = nextVarint(rest)
	default:
		err = fmt.Errorf("wire type %d", f.wire)
	}
	if err != nil {
		return field{}, err
	}
	if length > uint64(len(*rest)) {
		return field{}, errCutShort
	}
	f.bytes, *rest = (*rest)[:length], (*rest)[length:]
	return f, nil
}

func nextVarint(rest *[]byte) (uint64, error) {
	n, size := binary.Uvarint(*rest)
	if size <= 0 {
		return 0, errCutShort
	}
	*rest = (*rest)[size:]
	return n, nil
}
