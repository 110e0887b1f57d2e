// Package groupcommit lets concurrent callers share one expensive write: what arrives while a write is under way goes
// together in the next one. An idle group adds no delay (the first item is written at once), and a busy one spreads the cost of
// a round trip or a commit over all who wait for it. A caller is answered only after the write that held its item has
// ended. The group does not retry and does not look into errors; it keeps no item after its write.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/tgfleet/tgfleet/internal/fault"
)

var (
	// ErrStopped is returned by Do once the group is stopping; it is classified as transient.
	ErrStopped = errors.New("group commit is stopping")
	// ErrFull is returned by Do while the backlog is full; it is classified as transient.
	ErrFull = errors.New("group commit is full")
)

// Config says how a group writes. Every field must be set, but Weight and the two weights beside it may be left out together.
type Config[T any] struct {
	// Write writes items, in the order of their arrival, all or none. Its context is not that of a caller: it
	// ends for nobody, so Write sets its own deadline.
	Write func(ctx context.Context, items []T) error
	// MaxItems is how many items share a write at most.
	MaxItems int
	// Weight tells what an item weighs, and MaxWeight what the items of one write weigh at most together. An item that is heavier
	// by itself is written alone.
	Weight    func(T) int
	MaxWeight int
	// Flights is how many writes may be under way at once.
	Flights int
	// Backlog is how many items may wait for a write, and BacklogWeight what they weigh at most together; the second counts only
	// with Weight.
	Backlog       int
	BacklogWeight int
}

// Group is a group commit over items of one type. Any number of goroutines may call Do.
type Group[T any] struct {
	cfg Config[T]

	wake chan struct{} // holds a token while a flight may find work

	mu      sync.Mutex
	waiting []*waiter[T]
	weight  int // of what waits
	stopped bool
}

type waiter[T any] struct {
	item T
	done chan error // buffered: the write answers whether or not the caller still waits
}

// New returns a group that writes as cfg says, once Run runs.
func New[T any](cfg Config[T]) *Group[T] {
	return &Group[T]{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Do hands item to the next write and returns that write's error. When ctx ends first, Do returns its error and the item is
// written all the same.
func (g *Group[T]) Do(ctx context.Context, item T) error {
	w := &waiter[T]{item: item, done: make(chan error, 1)}
	if err := g.join(w); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the shared write: %w", context.Cause(ctx))
	}
}

func (g *Group[T]) join(w *waiter[T]) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return fault.As(fault.Transient, ErrStopped)
	}
	weight := g.weigh(w.item)
	if len(g.waiting) >= g.cfg.Backlog || len(g.waiting) > 0 && g.weight+weight > g.cfg.BacklogWeight {
		return fault.As(fault.Transient, ErrFull)
	}
	g.weight += weight
	g.waiting = append(g.waiting, w)
	g.signal()
	return nil
}

// Waiting returns how many items wait for a write now.
func (g *Group[T]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// Run writes until ctx ends; then it takes no more items, writes those that wait, and returns nil. It is called once.
func (g *Group[T]) Run(ctx context.Context) error {
	var flights sync.WaitGroup
	for range g.cfg.Flights {
		flights.Go(func() { g.fly(ctx) })
	}
	flights.Wait()
	return nil
}

func (g *Group[T]) fly(ctx context.Context) {
	// A write that is under way when ctx ends carries items that others wait for.
	writing := context.WithoutCancel(ctx)
	for {
		if batch := g.take(); len(batch) > 0 {
			g.write(writing, batch)
			continue
		}
		select {
		case <-g.wake:
		case <-ctx.Done():
			if g.stop() {
				return
			}
		}
	}
}

// take removes the items of the next write, and wakes another flight when more remain.
func (g *Group[T]) take() []*waiter[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, weight := 0, 0
	for n < len(g.waiting) && n < g.cfg.MaxItems {
		next := g.weigh(g.waiting[n].item)
		if n > 0 && weight+next > g.cfg.MaxWeight {
			break
		}
		weight += next
		n++
	}
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n) // which also forgets what was taken
	g.weight -= weight
	if len(g.waiting) > 0 {
		g.signal()
	}
	return batch
}

// weigh returns what item weighs: nothing in a group that does not weigh.
func (g *Group[T]) weigh(item T) int {
	if g.cfg.Weight == nil {
		return 0
	}
	return g.cfg.Weight(item)
}

// stop closes the group to new items and reports whether none is left.
func (g *Group[T]) stop() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	return len(g.waiting) == 0
}

func (g *Group[T]) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *Group[T]) write(ctx context.Context, batch []*waiter[T]) {
	items := make([]T, len(batch))
	for i, w := range batch {
		items[i] = w.item
	}
	err := Guard(func() error { return g.cfg.Write(ctx, items) })
	for _, w := range batch {
		w.done <- err
	}
}

// Guard runs write and turns a panic of it into a *PanicError: one poison item must not end the process.
func Guard(write func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Type: fmt.Sprintf("%T", v), Stack: debug.Stack()}
		}
	}()
	return write()
}

// PanicError is what a panic inside a write becomes. It names the type of what was thrown and not its value, which could quote an item.
type PanicError struct {
	Type  string
	Stack []byte
}

// Error returns one line without the stack.
func (e *PanicError) Error() string { return "shared write panicked with a " + e.Type }
