package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// sealedText is all that a Secret ever prints.
const sealedText = "[sealed]"

// Secret is a text that must not be seen: a token, a key, a URL with a password in it. However it is printed, logged or
// marshalled it shows [sealed]; only Reveal gives the text. Two places do not ask its methods, so keep it out of them: package
// fmt shows the unexported fields of a struct as they are, and encoding/json the keys of a map.
type Secret string

// Reveal returns the text itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns [sealed].
func (s Secret) String() string { return sealedText }

// GoString returns [sealed].
func (s Secret) GoString() string { return sealedText }

// Format writes [sealed] for every verb and flag.
func (s Secret) Format(f fmt.State, verb rune) { veiled{}.Format(f, verb) }

// LogValue returns [sealed].
func (s Secret) LogValue() slog.Value { return veiled{}.LogValue() }

// MarshalText returns [sealed].
func (s Secret) MarshalText() ([]byte, error) { return veiled{}.MarshalText() }

// MarshalJSON returns "[sealed]".
func (s Secret) MarshalJSON() ([]byte, error) { return veiled{}.MarshalJSON() }

// veiled, embedded in a struct that holds keys, lets nothing of it be printed, logged or marshalled.
type veiled struct{}

func (veiled) String() string               { return sealedText }
func (veiled) GoString() string             { return sealedText }
func (veiled) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, sealedText) }
func (veiled) LogValue() slog.Value         { return slog.StringValue(sealedText) }
func (veiled) MarshalText() ([]byte, error) { return []byte(sealedText), nil }
func (veiled) MarshalJSON() ([]byte, error) { return []byte(`"` + sealedText + `"`), nil }
