package botapi

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tgfleet/tgfleet/internal/normalise"
)

// decode reads one Update. Clean updates, nearly all of them, take the first path alone; whatever it refuses, for
// any reason, is repaired and read again, so that the verdict never depends on what stands first in the text: a
// wrong field that a later member of the same name replaces is not wrong, and broken JSON is broken JSON even
// behind a wrong field.
func decode(raw []byte) (*update, *normalise.Rejected) {
	text := bytes.TrimPrefix(raw, byteOrderMark)
	if opensObject(text) && !bytes.Contains(text, escapedNUL) {
		u := new(update)
		if json.Unmarshal(text, u) == nil {
			return u, identified(u)
		}
	}
	clean, updateID, rejected := repair(text)
	if rejected != nil {
		return nil, rejected
	}
	u := new(update)
	if err := json.Unmarshal(clean, u); err != nil {
		return nil, &normalise.Rejected{Class: normalise.Malformed, UpdateID: updateID, Reason: describe(err)}
	}
	return u, identified(u)
}

// opensObject tells whether the first byte of text that is no white space opens an object: the decoder takes null
// for an object without members.
func opensObject(text []byte) bool {
	for _, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c == '{'
	}
	return false
}

// identified rejects an object that has no id of an update. Telegram's begin "from a certain positive number".
func identified(u *update) *normalise.Rejected {
	switch {
	case u.UpdateID == 0:
		return &normalise.Rejected{Class: normalise.NoUpdateID, Reason: "/update_id is missing"}
	case u.UpdateID < 0:
		return &normalise.Rejected{Class: normalise.Malformed, Reason: "/update_id: want a positive number"}
	}
	return nil
}

// describe says where and how a field is not what Telegram says. The text of the decoder's errors quotes values;
// its path does not: all names in it are names of our own fields, because nothing else is ever decoded.
func describe(err error) string {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return "unreadable"
	}
	reason := string(semantic.JSONPointer) + ": a JSON " + kindName(semantic.JSONKind)
	if semantic.GoType != nil {
		reason += " where " + wanted(semantic.GoType) + " belongs"
	}
	return reason
}

// wanted returns the words for what a field of type t takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int64, reflect.Int32:
		return "an integer of " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

// subject is what a kind that nobody here knows can say about its chat.
type subject struct {
	Chat    chatID `json:"chat"`
	Message struct {
		Chat chatID `json:"chat"`
	} `json:"message"`
	UserChatID int64 `json:"user_chat_id"`
}

// member is one member of an object.
type member struct {
	name  string
	value jsontext.Value
}

// members returns the members of object that are not null, in their order. object comes from the decoder, so it is
// whole.
func members(object jsontext.Value) []member {
	var found []member
	dec := jsontext.NewDecoder(bytes.NewBuffer(object))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return found
		}
		m := member{name: name.String()}
		if m.value, err = dec.ReadValue(); err != nil {
			return found
		}
		if m.value.Kind() != 'n' {
			m.value = m.value.Clone()
			found = append(found, m)
		}
	}
	return found
}
