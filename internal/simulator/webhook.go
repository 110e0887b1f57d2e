package simulator

import (
	"container/heap"
	"container/list"
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// The numbers of webhook delivery. Source: tdlib/telegram-bot-api, WebhookActor.
const (
	defaultConnections = 40
	mostConnections    = 100
	// replyTimeout is how long Telegram waits for an answer.
	replyTimeout = 60 * time.Second
	// successMemory is how long after a success more than one connection is used.
	successMemory = 10 * time.Second
	// longestRetryAfter bounds what a receiver may ask for.
	longestRetryAfter = 3600 * time.Second
	// settledDelaySeconds is the lower end of the delay that the retry series settles at; the upper end is twice that.
	settledDelaySeconds = 60
	// goneLimit is for how long a webhook may answer 410 before it is removed.
	goneLimit = 23 * time.Hour
	// lookahead times max_connections is how many updates are looked at; the others wait until one of these is done with.
	lookahead = 2
)

// webhook is one setting of a bot's webhook, from setWebhook until the next one or its removal.
type webhook struct {
	url            string
	secret         string
	maxConnections int

	queues map[string]*queue
	ready  readyQueues
	// next is the first update of the backlog that no queue has yet; nil when they have them all.
	next *list.Element
	// loaded counts the updates in queues or in flight.
	loaded int
	// inFlight holds what ends each request that is under way.
	inFlight map[*update]context.CancelFunc

	lastSuccessAt time.Time
	// goneSince is when the first of an unbroken row of 410 came; zero when the last answer was another one.
	goneSince   time.Time
	lastErrorAt time.Time
	lastError   string
}

func newWebhook(url, secret string, maxConnections int, first *list.Element) *webhook {
	return &webhook{
		url: url, secret: secret, maxConnections: maxConnections, next: first,
		queues: map[string]*queue{}, inFlight: map[*update]context.CancelFunc{},
	}
}

// close ends the requests under way; what they bring is not waited for.
func (w *webhook) close() {
	for _, cancel := range w.inFlight {
		cancel()
	}
}

// connections is how many requests may be in flight: one, unless there was a success within the last 10 s. The real server
// keeps connections that are already open; this one is a little stricter.
func (w *webhook) connections(now time.Time) int {
	if now.Sub(w.lastSuccessAt) > successMemory {
		return 1
	}
	return w.maxConnections
}

// join puts u at the end of its queue, at the start of its retry series.
func (w *webhook) join(u *update, key string, now time.Time) {
	u.fails, u.delaySeconds, u.dueAt = 0, 1, now
	q := w.queue(u, key)
	q.waiting = append(q.waiting, u)
	w.settle(q)
}

// overtake puts u before all that waits in its queue, to be sent at dueAt.
func (w *webhook) overtake(u *update, key string, dueAt time.Time) {
	u.dueAt = dueAt
	q := w.queue(u, key)
	q.waiting = slices.Insert(q.waiting, 0, u)
	w.settle(q)
}

// queue returns the queue that u is about to enter.
func (w *webhook) queue(u *update, key string) *queue {
	u.loadedBy = w
	w.loaded++
	q := w.queues[key]
	if q == nil {
		q = &queue{key: key, index: -1}
		w.queues[key] = q
	}
	return q
}

// settle puts q where it belongs after a change of what waits in it: among the ready ones, or away.
func (w *webhook) settle(q *queue) {
	switch {
	case q.sending:
	case len(q.waiting) == 0:
		delete(w.queues, q.key)
	case q.index < 0:
		heap.Push(&w.ready, q)
	default:
		heap.Fix(&w.ready, q.index)
	}
}

// take returns a queue whose first update is due, and that update, which is from now on in flight; nil when none is due.
// random, when it is not nil, picks one of them all; else it is the one longest due.
func (w *webhook) take(now time.Time, random *rand.Rand) (*queue, *update) {
	if len(w.ready) == 0 || w.ready[0].waiting[0].dueAt.After(now) {
		return nil, nil
	}
	q := w.ready[0]
	if random != nil {
		var due []*queue
		for _, candidate := range w.ready {
			if !candidate.waiting[0].dueAt.After(now) {
				due = append(due, candidate)
			}
		}
		q = due[random.IntN(len(due))]
	}
	heap.Remove(&w.ready, q.index)
	u := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.sending = true
	return q, u
}

// release ends what take began, with the update gone from the queue.
func (w *webhook) release(q *queue, u *update) {
	delete(w.inFlight, u)
	w.loaded--
	q.sending = false
	w.settle(q)
}

// postpone ends what take began, with the update first in its queue again.
func (w *webhook) postpone(q *queue, u *update, dueAt time.Time) {
	w.release(q, u)
	w.overtake(u, q.key, dueAt)
}

// retryDelay returns how long u waits after a failure, and moves its series on: at once, then 2, 4, 8, 16, 32 s and so on
// up to a random 60-120 s. A Retry-After above zero stands in for one step. Source: WebhookActor::on_update_error.
func (u *update) retryDelay(retryAfter time.Duration, random *rand.Rand) time.Duration {
	wait := min(max(retryAfter, 0), longestRetryAfter)
	if wait == 0 && u.fails > 0 {
		u.delaySeconds = min(2*u.delaySeconds, settledDelaySeconds+random.IntN(settledDelaySeconds+1))
		wait = time.Duration(u.delaySeconds) * time.Second
	}
	u.fails++
	return wait
}
