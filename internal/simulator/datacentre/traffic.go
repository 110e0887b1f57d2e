package datacentre

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// TrafficConfig says how much traffic there is.
type TrafficConfig struct {
	// Rate is how many things happen in a second, on average; 0 lets them happen as fast as they can.
	Rate float64
	// Limit ends the traffic after that many things; 0 goes on until the context ends.
	Limit int
}

// remembered is how many messages of the traffic may still be edited or deleted.
const remembered = 50

// written is a message of the traffic.
type written struct {
	chat *Chat
	id   int
}

// Traffic lets people write into chats, and now and then edit and delete what they wrote, until the limit is reached or ctx ends; both return
// nil. It is an error when there are no chats. What happens is the same for the same seed, and everything is in History. It must not run
// twice at once.
func (s *Server) Traffic(ctx context.Context, cfg TrafficConfig, chats ...*Chat) error {
	if len(chats) == 0 {
		return errors.New("simulate traffic: no chats")
	}
	random := mathrand.New(mathrand.NewPCG(s.cfg.Seed, 1))
	var recent []written
	for n := 1; ctx.Err() == nil && (cfg.Limit == 0 || n <= cfg.Limit); n++ {
		recent = s.moment(random, n, recent, chats) //nolint:contextcheck // a push is bounded by itself, and ends with the server
		if cfg.Rate > 0 {
			pause(ctx, time.Duration(random.ExpFloat64()/cfg.Rate*float64(time.Second)))
		}
	}
	return nil
}

// moment lets the thing with the number n happen: of ten, eight are messages, one is an edit and one a deletion. It returns the recent messages
// that are left.
func (s *Server) moment(random *mathrand.Rand, n int, recent []written, chats []*Chat) []written {
	kind := random.IntN(10)
	if len(recent) == 0 || kind > 1 {
		chat := chats[random.IntN(len(chats))]
		m := s.Post(chat, fmt.Sprintf("%s, number %d", chat.Title, n))
		recent = append(recent, written{chat, m.ID})
		return recent[max(len(recent)-remembered, 0):]
	}
	at := random.IntN(len(recent))
	w := recent[at]
	if kind == 0 {
		s.Edit(w.chat, w.id, fmt.Sprintf("%s, corrected by number %d", w.chat.Title, n))
		return recent
	}
	s.Delete(w.chat, w.id)
	return slices.Delete(recent, at, at+1)
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
