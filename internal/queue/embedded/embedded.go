// Package embedded is a Redis inside the process, for `tgfleet up`: it needs no server, and its data ends with the process, so whoever
// uses it keeps every task in the database's spool first. It is miniredis behind a random password on 127.0.0.1, made to
// forget keys in time. No other command links it.
package embedded

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/tgfleet/tgfleet/internal/seal"
)

// Redis is one Redis inside the process.
type Redis struct {
	server   *miniredis.Miniredis
	password string
}

// Start starts a Redis on a free port of 127.0.0.1. It takes commands at once, and Run must run for keys to expire.
func Start() (*Redis, error) {
	r := &Redis{server: miniredis.NewMiniRedis(), password: rand.Text()}
	r.server.RequireAuth(r.password)
	if err := r.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	return r, nil
}

// URL returns the address for queue.Open.
func (r *Redis) URL() seal.Secret {
	address := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: r.server.Addr(), Path: "/0"}
	return seal.Secret(address.String())
}

// expireEvery is how often keys are expired, and by how much one may expire early. asynq's keys live for ten seconds and longer.
const expireEvery = time.Second

// Run expires keys until ctx ends, and then ends the Redis and all it holds. By itself miniredis counts an expiry down only when it
// is told how much time has passed. Its other way, at each command, sorts all keys each time.
func (r *Redis) Run(ctx context.Context) error {
	defer r.server.Close()
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			now := time.Now()
			r.server.FastForward(now.Sub(last))
			last = now
		}
	}
}
