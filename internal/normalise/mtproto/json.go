package mtproto

import (
	"bytes"
	"encoding/json"

	"github.com/tgfleet/tgfleet/internal/content"
)

// object is a JSON object by Telegram's names; what is zero is left out where the Bot API leaves it out.
type object map[string]any

// with adds a field unless its value is the zero one.
func with[T comparable](o object, name string, value T) object {
	var zero T
	if value != zero {
		o[name] = value
	}
	return o
}

// jsonOf writes v, which is made of clean strings, numbers and truth values, as the archive holds JSON: members in one order, an object
// without members is none.
func jsonOf(v any) content.JSON {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return ""
	}
	short := bytes.TrimSuffix(text.Bytes(), []byte{'\n'})
	if string(short) == "{}" {
		return ""
	}
	return content.JSON(short)
}
