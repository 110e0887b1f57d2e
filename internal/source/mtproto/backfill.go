package mtproto

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// pageEvery paces the reading of history: clients that people use read as fast, and Telegram does not let them wait.
	pageEvery = time.Second
	// idleEvery is how often it is looked whether there is history to be read.
	idleEvery = 5 * time.Second
	// pagesWaitingMost is how many pages may wait for the workers of the whole fleet before no more are asked for.
	pagesWaitingMost = 64
	// historyTogether is how many messages are asked for at once: the most that Telegram gives
	// (https://core.telegram.org/method/messages.getHistory).
	historyTogether = 100
	// A page that was not answered is asked for again after backfillRetry, then after twice that, up to backfillRetryMost.
	backfillRetry     = 2 * time.Second
	backfillRetryMost = time.Minute
	// unansweredFor is how long a backfill is left alone that Telegram did not answer.
	unansweredFor = 30 * time.Second
)

var (
	// errService is why the history of the chat with Telegram itself is not read: it holds login codes.
	errService = errors.New("telegram's own chat is not read")
	// errUnknownPeer is why a chat is not read that the account can't name to Telegram.
	errUnknownPeer = errors.New("the account has never been told of the chat")
	// errUnanswered is why a page was not read that may be read later.
	errUnanswered = errors.New("the page was not answered")
)

// backfill plans how holes are filled and reads history, until ctx ends. It has nothing in common with the way of live updates but the
// connection.
func (s *client) backfill(ctx context.Context) error {
	var failing obs.Spell
	again := pause.Backoff{Least: backfillRetry, Most: backfillRetryMost}
	for {
		asked, err := s.backfillOnce(ctx)
		if fault.ClassOf(err) == fault.NotFound {
			s.end(err)
		}
		if tell, _ := failing.Note(err != nil && ctx.Err() == nil); tell && err != nil {
			s.log.Warn("history not read, it is tried again", "error", describe(err))
		}
		next := idleEvery
		switch {
		case asked:
			again.Reset()
			next = pageEvery
		case err != nil:
			next = again.Next()
		default:
			again.Reset()
		}
		if !pause.For(ctx, pause.Spread(next)) {
			return ctx.Err()
		}
	}
}

// backfillOnce asks where one channel stands, or plans for the holes that are new and reads one page, as far as there is any of that. It returns
// whether it asked Telegram for something.
func (s *client) backfillOnce(ctx context.Context) (asked bool, err error) {
	if asked, err := s.placeOne(ctx); asked || err != nil {
		return asked, err
	}
	// A hole that can't be planned now keeps nobody from reading.
	unplanned := s.plan(ctx)
	due, err := s.dueBackfills(ctx)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(due, func(b account.Backfill) bool { return b.Takeout }) {
		s.endTakeout(ctx)
	}
	if len(due) == 0 {
		return false, unplanned
	}
	if waiting, err := s.pagesWaiting(ctx); err != nil || waiting >= pagesWaitingMost {
		return false, cmp.Or(err, unplanned)
	}
	read, err := s.readOne(ctx, due)
	return read, cmp.Or(err, unplanned)
}

// readOne reads a page of the first of due that Telegram answers. One that it does not answer, or lets wait, holds up no other.
func (s *client) readOne(ctx context.Context, due []account.Backfill) (read bool, err error) {
	maps.DeleteFunc(s.later, func(_ int64, until time.Time) bool { return time.Now().After(until) })
	for i := range due {
		if _, later := s.later[due[i].ID]; later {
			continue
		}
		next := s.readPage(ctx, &due[i])
		switch {
		case next == nil:
			return true, err
		case errors.Is(next, errThrottled):
		case errors.Is(next, errUnanswered) && ctx.Err() == nil:
			s.later[due[i].ID] = time.Now().Add(unansweredFor)
			err = next
		default:
			return false, next
		}
	}
	return false, err
}

func (s *client) dueBackfills(ctx context.Context) ([]account.Backfill, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Backfills.Due(ctx, s.id)
}

func (s *client) pagesWaiting(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Pages.Waiting(ctx)
}

// readPage reads the next page of b, brings it into the queue, and only then writes down that it was read. What Telegram refuses ends b.
func (s *client) readPage(ctx context.Context, b *account.Backfill) error {
	page, request, err := s.askPage(ctx, b)
	if reason, refused := refusalOf(err); refused {
		b.Status, b.Reason = account.BackfillFailed, reason
		s.log.Warn("backfill failed", "backfill", b.ID, "reason", reason)
		return s.advance(ctx, b)
	}
	if errors.Is(err, errThrottled) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	if err := s.bringPage(ctx, request, page); err != nil {
		return err
	}
	messages := turn(b, page)
	s.metrics.pages.Inc()
	s.metrics.pageMessages.Add(float64(messages))
	if b.Status == account.BackfillDone {
		s.log.Info("backfill done", "backfill", b.ID, "messages", b.Messages, "pages", b.Pages)
	}
	return s.advance(ctx, b)
}

// askPage asks for the page of b that comes next. It is errThrottled when Telegram lets that wait.
func (s *client) askPage(
	ctx context.Context, b *account.Backfill,
) (page tg.MessagesMessagesClass, request *tg.MessagesGetHistoryRequest, err error) {
	peer, err := s.peerOf(ctx, b.ChatID)
	if err != nil {
		return nil, nil, err
	}
	api := s.differences.api
	if b.Takeout {
		if api, err = s.inTakeout(ctx); err != nil {
			return nil, nil, err
		}
	}
	request = &tg.MessagesGetHistoryRequest{Peer: peer, Limit: historyTogether, MinID: int(b.Floor)}
	if b.Cursor != 0 {
		request.OffsetID = int(b.Cursor)
	} else {
		request.OffsetID = int(b.Begin)
	}
	err = s.differences.try(ctx, methodGetHistory, func(ctx context.Context) error {
		page, err = api.MessagesGetHistory(ctx, request)
		return err
	})
	if tgerr.Is(err, "TAKEOUT_INVALID") {
		// It ended by itself: the next page opens another one.
		s.takeout = 0
		err = errThrottled
	}
	return page, request, err
}

// bringPage returns nil once page is durable in the queue.
func (s *client) bringPage(ctx context.Context, request *tg.MessagesGetHistoryRequest, page tg.MessagesMessagesClass) error {
	asked := *request
	asked.Peer = withoutHash(request.Peer)
	envelopes, err := s.intake.wrapper.history(&asked, page, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Pages.Put(ctx, envelopes)
}

// turn moves b on by page and returns how many messages that has. The page with which nothing is left to read ends b: the one that is empty, or
// that comes down to b's end.
func turn(b *account.Backfill, page tg.MessagesMessagesClass) int {
	whole, ok := page.AsModified()
	if !ok {
		b.Status = account.BackfillDone
		return 0
	}
	messages := whole.GetMessages()
	b.Pages++
	b.Messages += len(messages)
	b.Total = len(messages)
	if counted, ok := page.(interface{ GetCount() int }); ok {
		b.Total = counted.GetCount()
	}
	b.Status = account.BackfillRunning
	if len(messages) == 0 {
		b.Status = account.BackfillDone
		return 0
	}
	for _, m := range messages {
		id := content.MessageID(m.GetID())
		b.Top = max(b.Top, id)
		if b.Cursor == 0 || id < b.Cursor {
			b.Cursor = id
		}
		dated, ok := m.AsNotEmpty()
		if ok && !b.Since.IsZero() && time.Unix(int64(dated.GetDate()), 0).Before(b.Since) {
			b.Status = account.BackfillDone
		}
	}
	if b.Cursor <= b.Floor+1 {
		b.Status = account.BackfillDone
	}
	return len(messages)
}

// advance writes down how far b has come. One that was cancelled meanwhile stays where it was.
func (s *client) advance(ctx context.Context, b *account.Backfill) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	err := s.cfg.Backfills.Advance(ctx, s.lease, *b)
	if fault.ClassOf(err) == fault.Permanent {
		return nil
	}
	return err
}

// refusalOf returns why a chat can't be read, however often it is tried, and false when that is not so.
func refusalOf(err error) (reason string, refused bool) {
	if errors.Is(err, errService) || errors.Is(err, errUnknownPeer) {
		return err.Error(), true
	}
	told, ok := tgerr.As(err)
	if ok && (told.Code == codeBadRequest || told.Code == codeForbidden || isChannelRefused(err)) {
		return told.Type, true
	}
	return "", false
}

// inTakeout returns the way to Telegram in a session for export, which it begins if there is none. Source: https://core.telegram.org/api/takeout.
func (s *client) inTakeout(ctx context.Context) (*tg.Client, error) {
	if s.takeout == 0 {
		request := &tg.AccountInitTakeoutSessionRequest{
			MessageUsers: true, MessageChats: true, MessageMegagroups: true, MessageChannels: true,
		}
		err := s.differences.try(ctx, methodInitTakeout, func(ctx context.Context) error {
			begun, err := s.differences.api.AccountInitTakeoutSession(ctx, request)
			if err == nil {
				s.takeout = begun.ID
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return tg.NewClient(takeout{id: s.takeout, invoker: s.telegram}), nil
}

// endTakeout ends the session for export, if there is one. Telegram ends one that was forgotten by itself.
func (s *client) endTakeout(ctx context.Context) {
	if s.takeout == 0 {
		return
	}
	ended := &tg.AccountFinishTakeoutSessionRequest{Success: true}
	api := tg.NewClient(takeout{id: s.takeout, invoker: s.telegram})
	err := s.differences.try(ctx, methodFinishTakeout, func(ctx context.Context) error {
		_, err := api.AccountFinishTakeoutSession(ctx, ended)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("session for export not ended, Telegram ends it by itself", "error", describe(err))
	}
	s.takeout = 0
}
