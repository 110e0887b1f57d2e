// Package normalise turns an update as Telegram delivered it into the archive's words: an ingest.Envelope into a
// content.ChangeSet. It is pure: no I/O, no clock, no state, so that the same envelope gives the same change set
// today and at a replay years later. A normaliser either understands an update or rejects it for good; what it
// does not know (new kinds, new fields) it passes over, because the raw bytes are kept. Telegram's own types live
// in the subpackages, one for each format.
package normalise

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Version is the version of all normalisers together. It goes up whenever one of them reads an update differently,
// so that a replay wins over what an older version wrote.
const Version uint16 = 3

// Normaliser reads the updates of one format. Normalise returns the same change set or the same error whenever it
// is given the same envelope; every error is a *Rejected. Any number of goroutines may call it, and it changes
// nothing of env.
type Normaliser interface {
	Normalise(env ingest.Envelope) (content.ChangeSet, error)
}

// identifier is a Normaliser that can tell an update's id from raw bytes that it can't normalise; 0 when there is
// none to read.
type identifier interface {
	UpdateID(raw []byte) int64
}

// Set holds the normaliser of each format. It is made once and then only read.
type Set map[ingest.Format]Normaliser

// Normalise reads env with the normaliser of its format. Every error is a *Rejected, also when there is no such
// normaliser and when the normaliser panics: the same update can never succeed with this version.
func (s Set) Normalise(env ingest.Envelope) (cs content.ChangeSet, err error) {
	n, ok := s[env.Format]
	if !ok {
		return content.ChangeSet{}, &Rejected{Class: UnknownFormat, Reason: fmt.Sprintf("no normaliser for format %d", env.Format)}
	}
	defer func() {
		if v := recover(); v != nil {
			cs = content.ChangeSet{}
			err = &Rejected{Class: Panic, UpdateID: updateID(n, env.Raw), Reason: describePanic(v)}
		}
	}()
	if cs, err = n.Normalise(env); err == nil {
		return cs, nil
	}
	var rejected *Rejected
	if !errors.As(err, &rejected) {
		// A foreign error's text may quote the update, so only its type is told.
		rejected = &Rejected{Class: Malformed, UpdateID: updateID(n, env.Raw), Reason: fmt.Sprintf("unexpected %T", err)}
	}
	return content.ChangeSet{}, rejected
}

// updateID asks n for the id of an update that it failed on; n failed once on the same bytes, so it may fail again.
func updateID(n Normaliser, raw []byte) (id int64) {
	defer func() {
		if recover() != nil {
			id = 0
		}
	}()
	if known, ok := n.(identifier); ok {
		return known.UpdateID(raw)
	}
	return 0
}

// describePanic says where the code panicked and with which type of value; the value itself may quote the update. It
// must be called from the deferred function that recovered.
func describePanic(v any) string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	// The stack reads: this function, the deferred one, the runtime's panic machinery, then the code that panicked.
	panicking := false
	for frame, more := frames.Next(); more; frame, more = frames.Next() {
		inRuntime := strings.HasPrefix(frame.Function, "runtime.") || strings.HasPrefix(frame.Function, "internal/runtime/")
		if panicking && !inRuntime {
			return fmt.Sprintf("%T at %s:%d", v, path.Base(frame.File), frame.Line)
		}
		panicking = panicking || inRuntime
	}
	return fmt.Sprintf("%T", v)
}
