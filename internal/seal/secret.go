package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// sealedText is all that a Secret ever prints.
const sealedText = "[sealed]"

// Secret is a text that must not be seen: a token, a key, a URL with a password in it. However it is printed, logged or
// marshalled it shows [sealed]; only Reveal gives the text. Package fmt does not ask the methods of an unexported field: a
// struct that keeps a Secret in one must not be printed as a whole.
type Secret string

// Reveal returns the text itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns [sealed].
func (s Secret) String() string { return sealedText }

// GoString returns [sealed].
func (s Secret) GoString() string { return sealedText }

// Format writes [sealed] for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, sealedText) }

// LogValue returns [sealed].
func (s Secret) LogValue() slog.Value { return slog.StringValue(sealedText) }

// MarshalText returns [sealed]; JSON objects with a Secret for a key use it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(sealedText), nil }

// MarshalJSON returns "[sealed]".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + sealedText + `"`), nil }
