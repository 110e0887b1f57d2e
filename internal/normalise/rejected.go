package normalise

import (
	"errors"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// The classes of rejected updates, fit for a column and a metric label.
const (
	// NotJSON is a body that is no JSON text.
	NotJSON = "not_json"
	// NotObject is a JSON text that is no object.
	NotObject = "not_object"
	// TooDeep is a JSON text nested deeper than the decoder goes.
	TooDeep = "too_deep"
	// NoUpdateID is an object without an update_id: no update of Telegram's.
	NoUpdateID = "no_update_id"
	// Malformed is an update whose known fields are not what Telegram says they are.
	Malformed = "malformed"
	// UnknownFormat is an envelope in a format that no normaliser reads.
	UnknownFormat = "unknown_format"
	// UnknownLayer is an envelope in a TL layer that this version has no decoder for; a newer version may have one.
	UnknownLayer = "unknown_layer"
	// Panic is an update that made a normaliser panic: a defect of ours.
	Panic = "panic"
)

// Classes are all of them. Nobody may change it.
var Classes = []string{NotJSON, NotObject, TooDeep, NoUpdateID, Malformed, UnknownFormat, UnknownLayer, Panic}

// Rejected says why an update can't be normalised, and never will be by this version: it is a fault.Permanent.
// Neither it nor its text holds anything of what the update says: only field names, JSON paths, types, offsets and
// the update's id.
type Rejected struct {
	// Class is one of the package's classes.
	Class string
	// UpdateID is the update's own id, or 0 when it could not be read.
	UpdateID int64
	// Reason says where and how, for a person.
	Reason string
}

// permanent is what every Rejected unwraps to, so that fault.ClassOf knows it.
var permanent = fault.As(fault.Permanent, errors.New("rejected"))

// Error returns the class and the reason.
func (r *Rejected) Error() string { return "normalise: " + r.Class + ": " + r.Reason }

// Unwrap returns an error of class fault.Permanent.
func (r *Rejected) Unwrap() error { return permanent }
