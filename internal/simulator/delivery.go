package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// mostReplyBytes bounds what is read of an answer.
const mostReplyBytes = 1 << 20

var errReplyTimeout = errors.New("read timeout expired")

// deliverTo sends what is due to the bot's webhook until ctx ends, and returns when its last request has.
func (s *Server) deliverTo(ctx context.Context, b *bot) {
	var requests sync.WaitGroup
	defer requests.Wait()
	for {
		attempts, wait := s.due(ctx, b)
		for _, attempt := range attempts {
			requests.Go(attempt)
		}
		stop := func() bool { return true }
		if wait > 0 {
			stop = s.clock.AfterFunc(wait, func() { signal(b.wake) })
		}
		select {
		case <-b.wake:
			stop()
		case <-ctx.Done():
			stop()
			return
		}
	}
}

// due takes every update that may be sent now, each as a function that sends it. wait is the time until more becomes due,
// and 0 when only an event can make it so.
func (s *Server) due(ctx context.Context, b *bot) (attempts []func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := b.webhook
	if w == nil || ctx.Err() != nil {
		return nil, 0
	}
	now := s.clock.Now()
	random := s.random
	if s.faults.Order == InOrder {
		random = nil
	}
	for len(w.inFlight) < w.connections(now) {
		s.load(b, now)
		q, u := w.take(now, random)
		if u == nil {
			break
		}
		if now.After(u.expiresAt) {
			w.release(q, u)
			s.leave(b, u, Expired)
			continue
		}
		attempts = append(attempts, s.begin(ctx, b, q, u))
	}
	if len(w.inFlight) < w.connections(now) && len(w.ready) > 0 {
		wait = w.ready[0].waiting[0].dueAt.Sub(now)
	}
	return attempts, wait
}

// load moves updates from the backlog into their queues, as many as are looked at.
func (s *Server) load(b *bot, now time.Time) {
	w := b.webhook
	for w.next != nil && w.loaded < lookahead*w.maxConnections {
		u := updateAt(w.next)
		w.next = w.next.Next()
		switch {
		case u.loadedBy == w:
		case now.After(u.expiresAt):
			s.leave(b, u, Expired)
		default:
			w.join(u, s.queueOf(u), now)
		}
	}
}

// queueOf returns the name of the queue that u waits in.
func (s *Server) queueOf(u *update) string {
	if u.key == "" || s.faults.Order == AnyOrder {
		return "update:" + strconv.FormatInt(u.id, 10)
	}
	return u.key
}

// begin counts a try and returns the function that makes it.
func (s *Server) begin(ctx context.Context, b *bot, q *queue, u *update) func() {
	w := b.webhook
	u.attempts++
	s.counts.Attempts++
	if u.told > 0 {
		s.counts.Repeats++
	}
	attempt, cancel := context.WithCancelCause(ctx)
	w.inFlight[u] = func() { cancel(context.Canceled) }
	return func() {
		defer cancel(nil)
		stop := s.clock.AfterFunc(replyTimeout, func() { cancel(errReplyTimeout) })
		defer stop()
		got := s.send(attempt, w.url, w.secret, u.body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(b, w, q, u, got)
	}
}

// answer is what came of one try.
type answer struct {
	// status is the HTTP status, or 0 when there was none.
	status int
	// trouble says what went wrong, in getWebhookInfo's words; empty for a success.
	trouble    string
	retryAfter time.Duration
	// interrupted says that the simulator itself ended the try.
	interrupted bool
}

// send makes one request and reads its answer. It follows no redirect: a transport never does.
func (s *Server) send(ctx context.Context, url, secret string, body []byte) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{trouble: "Wrong webhook URL"}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept-Encoding", "gzip, deflate")
	if secret != "" {
		request.Header.Set("X-Telegram-Bot-Api-Secret-Token", secret)
	}
	response, err := s.transport.RoundTrip(request)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, mostReplyBytes))
		err = errors.Join(err, response.Body.Close())
	}
	switch {
	case errors.Is(context.Cause(ctx), errReplyTimeout):
		return answer{trouble: "Read timeout expired"}
	case response == nil && ctx.Err() != nil:
		return answer{interrupted: true}
	case errors.Is(err, syscall.ECONNREFUSED):
		return answer{trouble: "Connection refused"}
	case response == nil:
		return answer{trouble: "Webhook connection closed"}
	}
	got := answer{status: response.StatusCode}
	switch {
	case err != nil:
		got.trouble = "Webhook connection closed"
	case got.status/100 != 2:
		got.trouble = fmt.Sprintf("Wrong response from the webhook: %d %s", got.status, http.StatusText(got.status))
		seconds, _ := strconv.Atoi(strings.TrimSpace(response.Header.Get("Retry-After")))
		got.retryAfter = time.Duration(min(max(seconds, 0), int(longestRetryAfter/time.Second))) * time.Second
	}
	return got
}

// finish writes down what came of a try. The caller holds mu.
func (s *Server) finish(b *bot, w *webhook, q *queue, u *update, got answer) {
	now := s.clock.Now()
	if got.status/100 == 2 {
		s.told(u, now)
	}
	if b.webhook != w || u.place == nil {
		return
	}
	defer signal(b.wake)
	switch {
	case got.interrupted:
		w.postpone(q, u, now)
	case got.trouble == "" && s.losesAnswer(u):
		s.fail(b, q, u, answer{trouble: "Read timeout expired"}, now)
	case got.trouble == "":
		w.lastSuccessAt = now
		w.goneSince = time.Time{}
		w.release(q, u)
		s.leave(b, u, Acknowledged)
		if s.duplicates(u) {
			s.repeat(b, u, now)
		}
	default:
		s.fail(b, q, u, got, now)
	}
}

// fail plans the next try of u, or drops it when that would fall past its end, and removes a webhook that has been gone for
// too long. The caller holds mu.
func (s *Server) fail(b *bot, q *queue, u *update, got answer, now time.Time) {
	w := b.webhook
	s.counts.Failures++
	w.lastErrorAt, w.lastError = now, got.trouble
	switch {
	case got.status != http.StatusGone && got.status != 0:
		w.goneSince = time.Time{}
	case got.status == http.StatusGone && w.goneSince.IsZero():
		w.goneSince = now
	}
	next := now.Add(u.retryDelay(got.retryAfter, s.random))
	if next.After(u.expiresAt) {
		w.release(q, u)
		s.leave(b, u, Expired)
	} else {
		w.postpone(q, u, next)
	}
	if got.status == http.StatusGone && now.Sub(w.goneSince) > goneLimit {
		s.log.Warn("webhook removed after answers of 410", "bot_id", int64(b.id))
		w.close()
		b.webhook = nil
	}
}
