// Package fault says what a caller may do about an error. Whoever knows (a decoder, an adapter) classifies an error once,
// where it arises; whoever acts (a queue handler, an HTTP handler) asks for the class and never reads an error's text.
// An error that nobody classified is Unclassified: it is retried, seen, and bounded. The package classifies nothing itself.
package fault

import (
	"errors"
	"time"
)

// Class is what a caller may do about an error.
type Class uint8

// The classes. Unclassified is the zero value: nobody has said anything about the error.
const (
	Unclassified Class = iota
	// Transient errors go away by themselves: the same call may succeed later.
	Transient
	// Permanent errors stay: the same input can never succeed.
	Permanent
	// NotFound says that the thing named does not exist.
	NotFound
	// Throttled says that the other side asks to wait; After tells how long.
	Throttled
	// Unauthorized says that the credentials are wrong or were withdrawn.
	Unauthorized
)

// String returns the class as one snake_case word, fit for a log value and a metric label.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Permanent:
		return "permanent"
	case NotFound:
		return "not_found"
	case Throttled:
		return "throttled"
	case Unauthorized:
		return "unauthorized"
	default:
		return "unclassified"
	}
}

type classified struct {
	class Class
	after time.Duration
	err   error
}

func (c *classified) Error() string { return c.err.Error() }
func (c *classified) Unwrap() error { return c.err }

// As returns err classified as class; nil stays nil. The text stays err's own.
func As(class Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class: class, err: err}
}

// Throttle returns err classified as Throttled, to be tried again no sooner than after; nil stays nil.
func Throttle(after time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class: Throttled, after: after, err: err}
}

// ClassOf returns the outermost class in err's chain, and Unclassified for nil and for an error without one.
func ClassOf(err error) Class {
	var c *classified
	if errors.As(err, &c) {
		return c.class
	}
	return Unclassified
}

// After returns how long a Throttled error asks to wait; ok is false when err is not Throttled.
func After(err error) (after time.Duration, ok bool) {
	var c *classified
	if errors.As(err, &c) && c.class == Throttled {
		return c.after, true
	}
	return 0, false
}
