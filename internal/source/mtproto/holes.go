package mtproto

import (
	"context"
	"errors"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
)

// A hole is filled from the history of the chats in which messages are missing. How far back, Telegram does not say; but each message takes a
// place in its sequence, and the numbers of messages go up by one. So no more messages are missing than there are places in the hole,
// and none of them has a number that is smaller than the newest one's by more than that.

// plan writes down for each hole that is new which backfills fill it, and closes those that need none.
func (s *client) plan(ctx context.Context) error {
	holes, err := s.unplanned(ctx)
	if err != nil {
		return err
	}
	for i := range holes {
		fills, status, err := s.fillsOf(ctx, &holes[i])
		if errors.Is(err, errThrottled) {
			continue
		}
		if err != nil {
			return err
		}
		if len(fills) == 0 && status == account.HoleOpen {
			continue
		}
		if err := s.planHole(ctx, &holes[i], status, fills); err != nil {
			return err
		}
		if len(fills) > 0 {
			status = account.HoleOpen
		}
		s.log.Info("hole planned", "hole", holes[i].ID, "reason", holes[i].Reason, "backfills", len(fills), "status", status)
	}
	return nil
}

func (s *client) unplanned(ctx context.Context) ([]account.Hole, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Backfills.Unplanned(ctx, s.connector.AccountID)
}

func (s *client) planHole(ctx context.Context, hole *account.Hole, status account.HoleStatus, fills []account.Backfill) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Backfills.Plan(ctx, s.lease, *hole, status, fills)
}

// fillsOf returns what fills hole; where that is nothing, the status that the hole has without it: it may stay open for now.
func (s *client) fillsOf(ctx context.Context, hole *account.Hole) ([]account.Backfill, account.HoleStatus, error) {
	if hole.Reason == content.ChannelTooLong {
		return nil, s.isTold(hole), nil
	}
	// Telegram has no history for bots.
	if s.connector.Kind == account.BotAccount {
		return nil, account.HoleGivenUp, nil
	}
	if hole.Reason == content.DifferenceTooLong {
		fills, err := s.fillsOfAccount(ctx, hole)
		return fills, account.HoleFilled, err
	}
	return s.fillsOfChannel(ctx, hole)
}

// isTold tells whether what Telegram did not push of a channel has come by difference, for which it asks. A difference that leaves messages out is
// a hole of its own.
func (s *client) isTold(hole *account.Hole) account.HoleStatus {
	id, _ := hole.ChatID.Channel()
	channel := s.state.channel(id)
	asked, isAsked := s.askedFor[hole.ID]
	switch {
	case !channel.hasPlace() || !channel.Inaccessible.IsZero():
		delete(s.askedFor, hole.ID)
		// Nobody knows from where on it would have to be told.
		return account.HoleGivenUp
	case hole.ToPts != 0 && channel.Pts >= hole.ToPts, isAsked && channel.answered.After(asked):
		delete(s.askedFor, hole.ID)
		return account.HoleFilled
	case !isAsked:
		s.askedFor[hole.ID] = time.Now()
		s.intake.gaps.channel(id, gap{})
	}
	return account.HoleOpen
}

// fillsOfChannel returns what fills a hole in one channel: its difference left out all but the newest messages.
func (s *client) fillsOfChannel(ctx context.Context, hole *account.Hole) ([]account.Backfill, account.HoleStatus, error) {
	// It begins with the newest: beside those the difference may have told an older one, so that nothing is known of what lies between.
	fill := account.Backfill{ConnectorID: s.id, ChatID: hole.ChatID}
	id, _ := hole.ChatID.Channel()
	answer, err := s.peerDialogs(ctx, id)
	if _, refused := refusalOf(err); refused {
		return nil, account.HoleGivenUp, nil
	}
	if err != nil {
		return nil, account.HoleOpen, err
	}
	dialog := dialogOf(answer, id)
	if dialog == nil {
		return nil, account.HoleGivenUp, nil
	}
	fill.Floor = max(0, content.MessageID(dialog.TopMessage-(dialog.Pts-hole.FromPts)))
	return []account.Backfill{fill}, account.HoleOpen, nil
}

// fillsOfAccount returns what fills a hole in the chats that the account numbers together: one backfill for each chat with messages that are new
// enough. Telegram's own chat is left out.
func (s *client) fillsOfAccount(ctx context.Context, hole *account.Hole) ([]account.Backfill, error) {
	newest, tops := 0, map[content.ChatID]int{}
	err := s.eachDialog(ctx, s.differences.try, func(d *tg.Dialog, _ *tg.MessagesDialogsSlice) {
		if _, ofChannel := d.Peer.(*tg.PeerChannel); ofChannel {
			return
		}
		newest = max(newest, d.TopMessage)
		tops[chatOf(d.Peer)] = d.TopMessage
	})
	if err != nil {
		return nil, err
	}
	// Asked after the dialogs, so that every message that is counted has its place.
	state, err := s.differences.UpdatesGetState(ctx)
	if err != nil {
		return nil, err
	}
	floor := max(0, newest-(state.Pts-hole.FromPts))
	var fills []account.Backfill
	for chat, top := range tops {
		if top > floor && chat != content.TelegramItself {
			fills = append(fills, account.Backfill{ConnectorID: s.id, ChatID: chat, Floor: content.MessageID(floor)})
		}
	}
	return fills, nil
}

// dialogOf returns where the channel stands by answer; nil when the account is no member of it.
func dialogOf(answer *tg.MessagesPeerDialogs, channelID int64) *tg.Dialog {
	for _, d := range answer.Dialogs {
		if dialog, ok := d.(*tg.Dialog); ok && dialog.Pts != 0 && !hasLeft(answer.Chats, channelID) {
			return dialog
		}
	}
	return nil
}

// peerDialogs returns where a channel stands. It is errThrottled when Telegram lets that wait.
func (s *client) peerDialogs(ctx context.Context, channelID int64) (answer *tg.MessagesPeerDialogs, err error) {
	peer, err := s.peerOf(ctx, content.ChatOfChannel(channelID))
	if err != nil {
		return nil, err
	}
	err = s.differences.try(ctx, methodGetPeerDialogs, func(ctx context.Context) error {
		answer, err = s.differences.api.MessagesGetPeerDialogs(ctx, []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: peer}})
		return err
	})
	return answer, err
}
