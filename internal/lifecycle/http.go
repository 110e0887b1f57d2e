package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Bounds of an HTTP server. The body of a webhook is 1 MiB at most and Telegram keeps its connections open between posts.
const (
	headerWithin   = 5 * time.Second
	requestWithin  = 30 * time.Second
	answerWithin   = 60 * time.Second
	idleFor        = 2 * time.Minute
	headerMaxBytes = 32 << 10
	// finishWithin is how long requests that are under way have when the server stops: less than the default drain time, so
	// that one hanging request leaves time to everything below.
	finishWithin = 10 * time.Second
	// firstWithin is how long a connection on which nothing has come yet has for its first request when the server stops.
	// Clients and load balancers open some ahead; net/http would wait five seconds for each.
	firstWithin = 500 * time.Millisecond
)

// Listen takes the TCP address addr (HOST:PORT; port 0 takes a free one). It is separate from HTTP, so that a process learns
// before it starts anything that a port is taken; the error names the address.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: another process has this port: %w", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// HTTP returns the service that serves handler on l, which it owns. When it stops it takes no new connection, lets requests that
// are under way finish, and cuts those that need longer than 10 seconds, which is an error. What the server has to say
// about single connections, panics of handlers among it, goes to log.
func HTTP(name string, l net.Listener, handler http.Handler, log *slog.Logger) Service {
	var unused unusedConns
	server := &http.Server{
		Handler:           handler,
		ConnState:         unused.note,
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       requestWithin,
		WriteTimeout:      answerWithin,
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    headerMaxBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return Service{Name: name, Run: func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		select {
		case err := <-served:
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		case <-ctx.Done():
		}
		finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
		defer cancel()
		defer time.AfterFunc(firstWithin, unused.close).Stop()
		err := server.Shutdown(finish)
		if err != nil {
			err = fmt.Errorf("serve %s: requests cut after %s: %w", l.Addr(), finishWithin, errors.Join(err, server.Close()))
		}
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve %s: %w", l.Addr(), ended))
		}
		return err
	}}
}

// unusedConns are the connections of a server on which nothing has come yet. Any number of goroutines may use it.
type unusedConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note is an http.Server's ConnState.
func (u *unusedConns) note(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state != http.StateNew {
		delete(u.conns, conn)
		return
	}
	if u.conns == nil {
		u.conns = make(map[net.Conn]struct{})
	}
	u.conns[conn] = struct{}{}
}

func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn := range u.conns {
		_ = conn.Close() // the server's reader ends with it, and tells of nothing
	}
}
