package simulator

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"
)

// The numbers of getUpdates. Source: tdlib/telegram-bot-api, Client::process_get_updates_query and JsonUpdates.
const (
	mostUpdates    = 100
	longestPoll    = 50
	mostReplyParts = 1 << 22
	// farAhead is how far an offset may lie past the newest update before it is taken for a mistake, and for 0.
	farAhead = 10
)

// poller is a getUpdates request that waits.
type poller struct {
	// wake says that there may be something to answer with.
	wake chan struct{}
	// ended carries why someone else ended it; it holds one reason.
	ended chan string
}

func conflict(why string) *failure { return &failure{code: http.StatusConflict, description: why} }

// getUpdates confirms what lies below the offset and answers with what comes after, at once or when there is something. The
// answer is made of the exact bytes that a webhook would get. When the caller goes away while it waits, it answers with nothing.
func (s *Server) getUpdates(ctx context.Context, b *bot, params parameters) ([][]byte, *failure) {
	timeout := params.number("timeout", 0, 0, longestPoll)
	s.mu.Lock()
	if b.webhook != nil {
		s.mu.Unlock()
		return nil, conflict("Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first")
	}
	if list, ok := readAllowed(params["allowed_updates"]); ok {
		b.allowed = list
	}
	offset, _ := strconv.ParseInt(params["offset"], 10, 64)
	limit := params.number("limit", mostUpdates, 1, mostUpdates)
	s.confirm(b, offset)
	updates := s.hand(b, limit)
	if len(updates) > 0 || timeout == 0 {
		s.mu.Unlock()
		return updates, nil
	}
	s.endPoller(b, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")
	own := &poller{wake: make(chan struct{}, 1), ended: make(chan string, 1)}
	b.poller = own
	s.mu.Unlock()

	over := make(chan struct{})
	stop := s.clock.AfterFunc(time.Duration(timeout)*time.Second, func() { close(over) })
	defer stop()
	for {
		select {
		case why := <-own.ended:
			return nil, conflict(why)
		case <-own.wake:
			if updates := s.answerPoller(b, own, limit); len(updates) > 0 {
				return updates, nil
			}
		case <-over:
			return s.forgetPoller(b, own, limit), nil
		case <-ctx.Done():
			s.forgetPoller(b, own, 0)
			return nil, nil
		}
	}
}

// answerPoller takes what there is for own; with something it waits no longer. It is nothing to a poller that was ended.
func (s *Server) answerPoller(b *bot, own *poller, limit int) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.poller != own {
		return nil
	}
	updates := s.hand(b, limit)
	if len(updates) > 0 {
		b.poller = nil
	}
	return updates
}

// forgetPoller ends own's waiting, with whatever there is.
func (s *Server) forgetPoller(b *bot, own *poller, limit int) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.poller != own {
		return nil
	}
	b.poller = nil
	return s.hand(b, limit)
}

// endPoller ends the request that waits, if one does. The caller holds mu.
func (s *Server) endPoller(b *bot, why string) {
	if b.poller != nil {
		b.poller.ended <- why
		b.poller = nil
	}
}

// confirm takes everything below offset as received. A negative offset counts from the newest update: -1 keeps that one
// alone. The caller holds mu.
func (s *Server) confirm(b *bot, offset int64) {
	now := s.clock.Now()
	if offset < 0 {
		offset = max(b.nextID+offset, 0)
	}
	if offset > b.nextID+farAhead {
		return
	}
	for place := b.backlog.Front(); place != nil; {
		u := updateAt(place)
		place = place.Next()
		if u.id >= offset {
			return
		}
		s.told(u, now)
		s.leave(b, u, Acknowledged)
	}
}

// hand returns the oldest pending updates. The caller holds mu.
func (s *Server) hand(b *bot, limit int) [][]byte {
	now := s.clock.Now()
	var updates [][]byte
	left := mostReplyParts
	for place := b.backlog.Front(); place != nil && len(updates) < limit; {
		u := updateAt(place)
		place = place.Next()
		if now.After(u.expiresAt) {
			s.leave(b, u, Expired)
			continue
		}
		left -= 50 + len(u.body)
		if left <= 0 {
			break
		}
		u.attempts++
		s.counts.Attempts++
		updates = append(updates, u.body)
	}
	return updates
}

// updatesReply writes the answer to getUpdates around the exact bytes of the updates, as they are.
func updatesReply(updates [][]byte) []byte {
	body := []byte(`{"ok":true,"result":[`)
	body = append(body, bytes.Join(updates, []byte(",\n"))...)
	return append(body, "]}"...)
}
