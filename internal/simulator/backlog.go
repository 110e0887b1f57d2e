package simulator

import (
	"container/list"
	"strconv"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// mostPending is how many updates Telegram keeps for one bot. Source: tdlib, TQueue's MAX_QUEUE_EVENTS.
	mostPending = 100_000
	// silence is after how long without an update the next update_id is random. Source: https://core.telegram.org/bots/api#update.
	silence = 7 * 24 * time.Hour
	// mostFirstID bounds a random update_id, so that it can grow for years below 2^31.
	mostFirstID = 1 << 30
)

// update is one update from the moment it happened, as Telegram's own books hold it.
type update struct {
	botID account.BotID
	id    int64
	kind  ingest.Kind
	// body is the whole Update object; every try sends these bytes.
	body []byte
	// key names the queue that the update waits in; empty means one of its own.
	key       string
	postedAt  time.Time
	expiresAt time.Time
	// place is where the update stands in its bot's backlog; nil when it is not in it.
	place *list.Element

	// loadedBy is the webhook that has it in a queue or in flight; an older one, or nil, when the bot's own has not.
	loadedBy *webhook
	// fails, delaySeconds and dueAt are its retry series there.
	fails        int
	delaySeconds int
	dueAt        time.Time
	// lostAnswer and duplicated say that a fault has been played on the update: each one happens once at most.
	lostAnswer bool
	duplicated bool

	outcome  Outcome
	attempts int
	told     int
	toldAt   time.Time
}

// post writes a new update into the bot's books and wakes whoever delivers it. The caller holds mu.
func (s *Server) post(b *bot, kind ingest.Kind, payload []byte) *update {
	rule := ruleOf(kind)
	now := s.clock.Now()
	u := &update{botID: b.id, kind: kind, postedAt: now, outcome: Filtered}
	if s.record {
		s.records = append(s.records, u)
	}
	if !b.allowed.takes(kind) {
		s.counts.Filtered++
		return u
	}
	if b.backlog.Len() >= mostPending {
		s.counts.Dropped++
		u.outcome = Dropped
		return u
	}
	u.id = b.nextUpdateID(now)
	u.body = wireBody(u.id, kind, payload)
	u.key = rule.queueKey(payload)
	u.expiresAt = now.Add(rule.lifetime)
	u.outcome = Pending
	s.counts.Posted++
	u.place = b.backlog.PushBack(u)
	s.counts.Pending++
	if b.webhook != nil && b.webhook.next == nil {
		b.webhook.next = u.place
	}
	b.stir()
	return u
}

// wireBody writes an Update as the real server does. Source: tdlib/telegram-bot-api, JsonUpdate::store.
func wireBody(id int64, kind ingest.Kind, payload []byte) []byte {
	body := make([]byte, 0, len(payload)+len(kind)+40)
	body = append(body, `{"update_id":`...)
	body = strconv.AppendInt(body, id, 10)
	body = append(body, ",\n\""...)
	body = append(body, kind...)
	body = append(body, `":`...)
	body = append(body, payload...)
	return append(body, '}')
}

// nextUpdateID returns the id of the update that happens now.
func (b *bot) nextUpdateID(now time.Time) int64 {
	if b.lastPostedAt.IsZero() || now.Sub(b.lastPostedAt) >= silence {
		b.nextID = 10 + b.random.Int64N(mostFirstID)
	}
	b.lastPostedAt = now
	b.nextID++
	return b.nextID - 1
}

// stir wakes the bot's delivery loop and its poller.
func (b *bot) stir() {
	signal(b.wake)
	if b.poller != nil {
		signal(b.poller.wake)
	}
}

// leave takes u out of its bot's backlog for good. The caller holds mu.
func (s *Server) leave(b *bot, u *update, outcome Outcome) {
	if u.place == nil {
		return
	}
	if b.webhook != nil && b.webhook.next == u.place {
		b.webhook.next = u.place.Next()
	}
	b.backlog.Remove(u.place)
	u.place = nil
	u.outcome = outcome
	switch outcome {
	case Acknowledged:
		s.counts.Acknowledged++
	case Expired:
		s.counts.Expired++
		s.log.Warn("update expired", "bot_id", int64(b.id), "update_id", u.id, "kind", string(u.kind), "attempts", u.attempts)
	case Dropped:
		s.counts.Dropped++
	case Pending, Filtered:
	}
	s.counts.Pending--
	if s.counts.Pending == 0 {
		close(s.idle)
		s.idle = make(chan struct{})
	}
}

// restore puts u back into the backlog, at its place by update_id, as if it had never been taken. The caller holds mu.
func (s *Server) restore(b *bot, u *update) {
	u.outcome = Pending
	s.counts.Pending++
	for place := b.backlog.Front(); place != nil; place = place.Next() {
		if updateAt(place).id > u.id {
			u.place = b.backlog.InsertBefore(u, place)
			return
		}
	}
	u.place = b.backlog.PushBack(u)
}

// clear drops everything that is pending for the bot. The caller holds mu.
func (s *Server) clear(b *bot) {
	for b.backlog.Len() > 0 {
		s.leave(b, updateAt(b.backlog.Front()), Dropped)
	}
}

func updateAt(place *list.Element) *update {
	u, _ := place.Value.(*update)
	return u
}

// queue is the updates that are delivered one after the other.
type queue struct {
	key     string
	waiting []*update
	// sending is true while the queue's first update is in flight; it is then not in waiting.
	sending bool
	// index is the queue's place among those that are ready; -1 when it is not.
	index int
}

// readyQueues is a heap of the queues that have something to send and nothing in flight, the one longest due first.
type readyQueues []*queue

func (r readyQueues) Len() int { return len(r) }

func (r readyQueues) Less(i, j int) bool {
	a, b := r[i].waiting[0], r[j].waiting[0]
	if a.dueAt.Equal(b.dueAt) {
		return a.id < b.id
	}
	return a.dueAt.Before(b.dueAt)
}

func (r readyQueues) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].index, r[j].index = i, j
}

func (r *readyQueues) Push(x any) {
	q, _ := x.(*queue)
	q.index = len(*r)
	*r = append(*r, q)
}

func (r *readyQueues) Pop() any {
	last := len(*r) - 1
	q := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	q.index = -1
	return q
}
