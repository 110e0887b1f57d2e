package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reply is what became of one update of a stream.
type reply struct {
	sentAt     time.Time
	took       time.Duration
	status     int // 0 when no answer came
	retryAfter string
}

// stream posts updates to an api at a steady rate, each once and whatever the answers are, as many bots together do, and keeps
// all answers.
type stream struct {
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}

	mu sync.Mutex
	// replies holds every answer by the number of the update, which counts from 1. Written by the posting goroutines.
	replies map[int64]reply
	sent    int64
	paused  bool
}

// postWithin is how long Telegram waits for an answer.
const postWithin = time.Minute

// stream posts hello updates to the fleet's first bot, rate of them a second, until end or the end of the test.
func (f *fleet) stream(rate int) *stream {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{t: f.t, cancel: cancel, ended: make(chan struct{}), replies: map[int64]reply{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	poster := &http.Client{Transport: transport, Timeout: postWithin}
	url, secret := f.api.url+f.bots[0].WebhookPath, f.bots[0].Secret
	go func() {
		defer close(s.ended)
		defer transport.CloseIdleConnections()
		var posting sync.WaitGroup
		defer posting.Wait()
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if id, goes := s.next(); goes {
				posting.Go(func() { s.note(id, post(poster, url, secret, hello(id))) })
			}
		}
	}()
	f.t.Cleanup(s.end)
	return s
}

func (s *stream) next() (id int64, goes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused {
		return 0, false
	}
	s.sent++
	return s.sent, true
}

func (s *stream) note(id int64, r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies[id] = r
}

func post(poster *http.Client, url, secret, body string) reply {
	r := reply{sentAt: time.Now()}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return r
	}
	request.Header.Set(secretHeader, secret)
	response, err := poster.Do(request)
	r.took = time.Since(r.sentAt)
	if err != nil {
		return r
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	r.status, r.retryAfter = response.StatusCode, response.Header.Get("Retry-After")
	return r
}

// end posts no more and waits for all answers.
func (s *stream) end() {
	s.cancel()
	<-s.ended
}

// pause posts no more until goOn, and waits for all answers.
func (s *stream) pause() {
	s.t.Helper()
	s.mu.Lock()
	s.paused = true
	sent := s.sent
	s.mu.Unlock()
	eventually(s.t, 2*postWithin, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if int64(len(s.replies)) < sent {
			return fmt.Errorf("%d of %d answers", len(s.replies), sent)
		}
		return nil
	})
}

func (s *stream) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
}

// answered waits until n more updates were answered that are sent from now on, and returns their answers, with those that were
// under way when it began.
func (s *stream) answered(n int) []reply {
	s.t.Helper()
	s.mu.Lock()
	from := s.sent
	var open []int64
	for id := int64(1); id <= s.sent; id++ {
		if _, there := s.replies[id]; !there {
			open = append(open, id)
		}
	}
	s.mu.Unlock()
	var got []reply
	eventually(s.t, time.Minute, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		got = got[:0]
		for id := from + 1; id <= from+int64(n); id++ {
			if r, there := s.replies[id]; there {
				got = append(got, r)
			}
		}
		if len(got) < n {
			return fmt.Errorf("%d of %d answers", len(got), n)
		}
		for _, id := range open {
			if r, there := s.replies[id]; there {
				got = append(got, r)
			}
		}
		return nil
	})
	return got
}

// all returns every answer until now.
func (s *stream) all() []reply { return s.sentSince(time.Time{}) }

// sentSince returns every answer until now to what was sent from a time on.
func (s *stream) sentSince(since time.Time) []reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := make([]reply, 0, len(s.replies))
	for _, r := range s.replies {
		if !r.sentAt.Before(since) {
			got = append(got, r)
		}
	}
	return got
}

// acknowledged returns the numbers of the updates that were answered with 200.
func (s *stream) acknowledged() map[int64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := map[int64]bool{}
	for id, r := range s.replies {
		if r.status == http.StatusOK {
			ids[id] = true
		}
	}
	return ids
}

// statuses counts answers by status.
func statuses(replies []reply) map[int]int {
	counts := map[int]int{}
	for _, r := range replies {
		counts[r.status]++
	}
	return counts
}

// slowest returns the answer time that the share of the answers kept; 1 means the longest.
func slowest(replies []reply, share float64) time.Duration {
	var took []time.Duration
	for _, r := range replies {
		took = append(took, r.took)
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0
	}
	return took[int(share*float64(len(took)-1))]
}

// kept returns how often each update of a stream is in the ledger, by number.
func (a *archive) kept() map[int64]int {
	a.t.Helper()
	kept := map[int64]int{}
	a.each("SELECT update_id FROM updates", func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		kept[id]++
		return err
	})
	return kept
}

// requireKept fails unless the archive holds what the stream was acknowledged, each once, and nothing that it did not send; nothing has
// died, and messages and events are as many as the updates. others are updates that came by other ways and were kept.
func (s *stream) requireKept(f *fleet, others int) {
	s.t.Helper()
	kept, acknowledged := f.db.kept(), s.acknowledged()
	lost, doubled, strange := 0, 0, 0
	for id := range acknowledged {
		if kept[id] == 0 {
			lost++
		}
	}
	for id, times := range kept {
		doubled += times - 1
		if id > s.sent {
			strange++
		}
	}
	require.Zero(s.t, lost, "acknowledged and lost, of %d", len(acknowledged))
	require.Zero(s.t, doubled, "there twice")
	require.Equal(s.t, others, strange, "updates that the stream did not send")
	require.Zero(s.t, f.db.count("SELECT count(*) FROM dead_letters"), "dead letters")
	require.Zero(s.t, f.db.count("SELECT count(*) FROM spool"), "spooled batches")
	require.Equal(s.t, len(kept), f.db.count("SELECT count(*) FROM messages"), "messages")
	for _, kind := range []string{"message.created", "message.revised"} {
		require.Equal(s.t, len(kept), f.db.count("SELECT count(*) FROM platform_events WHERE type = '"+kind+"'"), kind)
	}
}
