package botapi

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tgfleet/tgfleet/internal/normalise"
)

// Nearly every update is clean: its names are unique, its text is valid UTF-8 without U+0000 and lone surrogates.
// The decoder is strict and takes those in one pass. An update that it refuses comes here and is rewritten into a
// clean one with the same meaning, so that one decoder with one set of rules reads both.

// byteOrderMark may open a JSON text and is to be ignored (RFC 8259, section 8.1).
var byteOrderMark = []byte("\ufeff")

// escapedNUL is the only way in which a JSON text can carry U+0000. The strict decoder takes it, the databases do
// not.
var escapedNUL = []byte(`\u0000`)

// maxDepth is how deep jsontext reads.
const maxDepth = 10_000

// repair returns raw rewritten so that the strict decoder takes it: what stored text can't hold is U+FFFD, and of
// members with one name only the last is left, whole, at every level. It also returns the update's id, which is
// right even when the text turns out to be broken further on; 0 when there is none to read.
func repair(raw []byte) (clean []byte, updateID int64, rejected *normalise.Rejected) {
	clean = sanitise(raw)
	doc := dedup{
		dec:       jsontext.NewDecoder(bytes.NewBuffer(clean), jsontext.AllowDuplicateNames(true)),
		sizeBytes: int64(len(clean)),
	}
	if rejected = doc.scan(); rejected != nil {
		rejected.UpdateID = doc.updateID
		return nil, doc.updateID, rejected
	}
	return doc.without(clean), doc.updateID, nil
}

// sanitise returns a copy of raw in which every UTF-16 code unit that stored text can't hold is one U+FFFD, so
// that offsets of entities, which count UTF-16 code units, stay right: the escapes of U+0000 and of lone
// surrogates, surrogates that were encoded as if they were characters (three bytes, one unit), and every other
// byte that is no UTF-8. It looks at escapes wherever they stand: outside a string a backslash is wrong JSON
// before and after.
func sanitise(raw []byte) []byte {
	clean := make([]byte, 0, len(raw)+16)
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '\\':
			n := escape(raw[i:])
			if n == 0 {
				clean = append(clean, `\ufffd`...)
				n = len(`\ufffd`)
			} else {
				clean = append(clean, raw[i:i+n]...)
			}
			i += n
		case c < utf8.RuneSelf:
			clean = append(clean, c)
			i++
		default:
			r, n := utf8.DecodeRune(raw[i:])
			if r == utf8.RuneError && n == 1 {
				clean = utf8.AppendRune(clean, utf8.RuneError)
				n = invalid(raw[i:])
			} else {
				clean = append(clean, raw[i:i+n]...)
			}
			i += n
		}
	}
	return clean
}

// escape returns how many bytes of b, which opens with a backslash, are an escape to be kept; 0 when it is one of
// U+0000 or of a lone surrogate. A broken escape is kept for the decoder to refuse.
func escape(b []byte) int {
	unit, ok := escapedUnit(b)
	switch {
	case !ok:
		return min(2, len(b))
	case unit == 0, 0xdc00 <= unit && unit < 0xe000:
		return 0
	case 0xd800 <= unit && unit < 0xdc00:
		if low, ok := escapedUnit(b[6:]); ok && 0xdc00 <= low && low < 0xe000 {
			return 12
		}
		return 0
	default:
		return 6
	}
}

// escapedUnit reads the UTF-16 code unit that b opens with, written as \uXXXX.
func escapedUnit(b []byte) (unit uint64, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return unit, err == nil
}

// invalid returns how many bytes of b, which opens with invalid UTF-8, stand for one UTF-16 code unit.
func invalid(b []byte) int {
	if len(b) >= 3 && b[0] == 0xed && 0xa0 <= b[1] && b[1] <= 0xbf && 0x80 <= b[2] && b[2] <= 0xbf {
		return 3
	}
	return 1
}

// dedup finds the members of a JSON text that a later member of the same object and name replaces.
type dedup struct {
	dec       *jsontext.Decoder
	sizeBytes int64
	open      []object
	drop      []span
	updateID  int64
}

// object is an object that the scan is inside of (for an array it stays empty).
type object struct {
	// starts holds where the name of each member begins.
	starts []int64
	// last holds the number of the last member of each name.
	last map[string]int
}

// span is a part of the text, from begin up to end.
type span struct{ begin, end int64 }

// scan reads the whole text, which must be one object.
func (d *dedup) scan() *normalise.Rejected {
	kind := d.dec.PeekKind()
	for first := true; first || d.dec.StackDepth() > 0; first = false {
		if err := d.next(); err != nil {
			return d.refuse(err)
		}
	}
	// The decoder reads streams of texts: a second one, or anything else, does not belong here.
	if _, err := d.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return d.refuse(err)
	}
	if kind != '{' {
		return &normalise.Rejected{Class: normalise.NotObject, Reason: "a JSON " + kindName(kind) + " where an object belongs"}
	}
	return nil
}

// next reads one token, or a name and, when that is short, its value.
func (d *dedup) next() error {
	depth := d.dec.StackDepth()
	if kind, length := d.dec.StackIndex(depth); kind == '{' && length%2 == 0 && d.dec.PeekKind() == '"' {
		return d.name(depth)
	}
	token, err := d.dec.ReadToken()
	if err != nil {
		return err
	}
	if kind := token.Kind(); kind == '{' || kind == '[' {
		d.open = append(d.open, object{})
	} else if kind == '}' || kind == ']' {
		d.open = d.open[:len(d.open)-1]
	}
	return nil
}

// name reads the name of a member, and drops an earlier member of that name: it ends where the name after it begins.
func (d *dedup) name(depth int) error {
	quoted, err := d.dec.ReadValue()
	if err != nil {
		return err
	}
	unquoted, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return err
	}
	name, begin := string(unquoted), d.dec.InputOffset()-int64(len(quoted))
	o := &d.open[depth-1]
	o.starts = append(o.starts, begin)
	if o.last == nil {
		o.last = map[string]int{}
	}
	if earlier, ok := o.last[name]; ok {
		d.drop = append(d.drop, span{o.starts[earlier], o.starts[earlier+1]})
	}
	o.last[name] = len(o.starts) - 1
	if depth == 1 && name == "update_id" {
		return d.readUpdateID()
	}
	return nil
}

// readUpdateID reads the value of an update_id, whatever it is.
func (d *dedup) readUpdateID() error {
	d.updateID = 0
	if d.dec.PeekKind() != '0' {
		return nil
	}
	value, err := d.dec.ReadValue()
	if err != nil {
		return err
	}
	// A number at the end of a text that was cut off may have lost digits.
	if id, err := strconv.ParseInt(string(value), 10, 64); err == nil && d.dec.InputOffset() < d.sizeBytes {
		d.updateID = id
	}
	return nil
}

// refuse says why the text can't be read on; err's own text quotes the update and stays out.
func (d *dedup) refuse(err error) *normalise.Rejected {
	at := "at offset " + strconv.FormatInt(d.dec.InputOffset(), 10)
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		at = "at offset " + strconv.FormatInt(syntactic.ByteOffset, 10)
	}
	switch {
	case d.dec.StackDepth() >= maxDepth:
		return &normalise.Rejected{Class: normalise.TooDeep, Reason: "nested deeper than " + strconv.Itoa(maxDepth) + " " + at}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &normalise.Rejected{Class: normalise.NotJSON, Reason: "the text ends too early, " + at}
	default:
		return &normalise.Rejected{Class: normalise.NotJSON, Reason: "wrong syntax " + at}
	}
}

// without returns text without the parts to be dropped.
func (d *dedup) without(text []byte) []byte {
	if len(d.drop) == 0 {
		return text
	}
	slices.SortFunc(d.drop, func(a, b span) int { return int(a.begin - b.begin) })
	kept, from := make([]byte, 0, len(text)), int64(0)
	for _, s := range d.drop {
		// Parts inside a part that is gone already begin before from.
		if s.begin >= from {
			kept = append(kept, text[from:s.begin]...)
		}
		from = max(from, s.end)
	}
	return append(kept, text[from:]...)
}

// kindName returns the word for a kind of JSON value.
func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '0':
		return "number"
	case '{', '}':
		return "object"
	case '[', ']':
		return "array"
	default:
		return "value"
	}
}
