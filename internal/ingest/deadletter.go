package ingest

import "time"

// DeadLetter is an update that can't be applied: the update itself, untouched, and why. It waits for a person or for a newer
// normaliser. The same update dies once: Source and the hash of the raw bytes name it.
type DeadLetter struct {
	Envelope Envelope
	// UpdateID is the update's own id, or 0 when it could not be read.
	UpdateID int64
	// Class groups what died for one cause; it comes from a closed set of the code that gave up.
	Class string
	// Error says what happened in terms of names, types and codes; it holds nothing of what people wrote.
	Error string
	// NormaliserVersion is the version of the normaliser that gave up.
	NormaliserVersion uint16
	DiedAt            time.Time
}
