// Package lifecycle runs the services of one process and stops them in order. Services are listed from the ground up: a
// service may use those before it, so the last one stops first and each has returned before the one below it is told to stop.
// The whole stop is bounded: whatever a service does, Run returns within the drain time, so that the process can end. The
// package restarts nothing and catches no panic: a panic in a service ends the process with its own trace.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Service is one long-running part of a process. Run blocks until ctx ends and what it started has finished, and returns
// nil (or ctx's own error) then. Returning earlier, with an error or without one, stops the whole process.
type Service struct {
	Name string
	Run  func(ctx context.Context) error
}

// Closer returns a service that holds a resource open until its turn to stop comes, and then closes it. It stands in the list
// before everything that uses the resource.
func Closer(name string, closeResource func() error) Service {
	return Service{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		return closeResource()
	}}
}

// Run starts the services in order and blocks until ctx ends or one of them returns; then it stops them in reverse order, each
// one completely before the next, all within drain. A service that is still running when drain is over is named in the error,
// those below it are told to stop without being waited for, and Run returns: the caller must end the process. The error joins what
// every service returned, in the order in which they ended; a stop that ctx asked for and that went well returns nil.
func Run(ctx context.Context, log *slog.Logger, drain time.Duration, services ...Service) error {
	g := &group{log: log, ended: make(chan *running, len(services))}
	for _, s := range services {
		g.start(ctx, s)
	}
	reason := "asked"
	select {
	case <-ctx.Done():
	case first := <-g.ended:
		reason = first.Name
		g.settle(first, false)
	}
	log.Info("stopping", "reason", reason, "drain", drain)
	g.stop(drain)
	return errors.Join(g.errs...)
}

type group struct {
	log *slog.Logger
	// ended has room for every service, so that none of them ever waits to report its end.
	ended    chan *running
	services []*running
	errs     []error
}

type running struct {
	Service
	cancel  context.CancelFunc
	started time.Time
	// err is written by the service's goroutine before done is closed and read after it.
	err     error
	done    chan struct{}
	settled bool
}

func (g *group) start(ctx context.Context, s Service) {
	// The service's context does not end with ctx: when it ends is what stop decides.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{Service: s, cancel: cancel, started: time.Now(), done: make(chan struct{})}
	g.services = append(g.services, r)
	go func() {
		defer func() {
			close(r.done)
			g.ended <- r
		}()
		r.err = s.Run(ctx)
	}()
}

func (g *group) stop(drain time.Duration) {
	over := time.NewTimer(drain)
	defer over.Stop()
	late := false
	for _, r := range slices.Backward(g.services) {
		// One that ended before its turn came was not asked to.
		asked := !r.hasEnded()
		r.cancel()
		overran := fmt.Errorf("service %s: told to stop, not waited for", r.Name)
		if !late {
			select {
			case <-r.done:
			case <-over.C:
				late = true
				overran = fmt.Errorf("service %s: still running when the drain time of %s was over", r.Name, drain)
			}
		}
		if r.hasEnded() {
			g.settle(r, asked)
			continue
		}
		g.errs = append(g.errs, overran)
		g.log.Error("service overran", "service", r.Name, "result", "overran", "ran", time.Since(r.started))
	}
}

func (r *running) hasEnded() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// settle takes the result of a service that has returned, once.
func (g *group) settle(r *running, asked bool) {
	if r.settled {
		return
	}
	r.settled = true
	result := "stopped"
	switch {
	case asked && (r.err == nil || errors.Is(r.err, context.Canceled)):
	case r.err == nil:
		result = "ended"
		g.errs = append(g.errs, fmt.Errorf("service %s: ended without being asked to", r.Name))
	default:
		result = "failed"
		g.errs = append(g.errs, fmt.Errorf("service %s: %w", r.Name, r.err))
	}
	g.log.Info("service ended", "service", r.Name, "result", result, "ran", time.Since(r.started))
}
