package mtproto

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
)

const (
	// storeEvery is how often changes of the state are stored: what a killed listener asks Telegram for again.
	storeEvery  = time.Second
	storeWithin = 5 * time.Second
	// checkpointEvery is how often a state is put aside that can be gone back to.
	checkpointEvery = time.Minute
	// usersMost bounds the access hashes of users that are remembered; the worker stores all of them.
	usersMost = 4096
)

// state is how far one account's updates have been taken. It implements the storages of gotd's manager in memory, and is stored in
// the background: a stored state that lags behind costs a difference at the next start, and one that ran ahead would
// cost updates, which can't be, because the manager moves it only for what is durable.
type state struct {
	states    States
	hashes    AccessHashes
	lease     account.Lease
	connector string
	accountID int64

	// mu guards what follows: the manager's goroutines and the one that stores use it.
	mu       sync.Mutex
	known    bool
	common   account.UpdateState
	channels map[int64]channelState
	users    map[int64]int64
	// commonChanged and changed are what is not stored yet.
	commonChanged bool
	changed       map[int64]bool
}

// channelState is how far a channel has told its updates.
type channelState struct {
	account.ChannelState
	// adopted says that the manager has asked where the channel stands, and counts on from there by itself.
	adopted bool
	// answered is when Telegram last told the end of the channel's updates.
	answered time.Time
	// moved says that the account has joined the channel, or left it, and asked that it was asked where the channel stands.
	moved, asked bool
}

// hasPlace tells whether it is known from where on the channel's updates are to come.
func (c channelState) hasPlace() bool { return c.Pts != 0 }

// isFollowed tells whether the channel has its place, and Telegram does not refuse its updates.
func (c channelState) isFollowed() bool { return c.hasPlace() && c.Inaccessible.IsZero() }

var (
	_ updates.StateStorage        = (*state)(nil)
	_ updates.ChannelAccessHasher = (*state)(nil)
	_ updates.UserAccessHasher    = (*state)(nil)
)

// loadState loads what is stored of the connector.
func loadState(ctx context.Context, h *holder, l account.Lease, accountID int64) (*state, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	s := &state{
		states: h.cfg.States, hashes: h.cfg.Hashes, lease: l, connector: h.id, accountID: accountID,
		channels: map[int64]channelState{}, users: map[int64]int64{}, changed: map[int64]bool{},
	}
	var err error
	if s.common, s.known, err = h.cfg.States.Load(ctx, h.id); err != nil {
		return nil, err
	}
	channels, err := h.cfg.States.Channels(ctx, h.id)
	if err != nil {
		return nil, err
	}
	for _, channel := range channels {
		s.channels[channel.ChannelID] = channelState{ChannelState: channel}
	}
	return s, nil
}

// keep stores what changes until ctx ends, and once more then. It begins with a checkpoint: what comes from now on may be lost with a Redis before
// there is another one.
func (s *state) keep(ctx context.Context, failed func(error)) {
	if err := s.checkpoint(ctx); err != nil && ctx.Err() == nil {
		failed(err)
	}
	stored, checkpoint := time.NewTicker(storeEvery), time.NewTicker(checkpointEvery)
	defer stored.Stop()
	defer checkpoint.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			if err := s.store(context.WithoutCancel(ctx)); err != nil {
				failed(err)
			}
			return
		case <-stored.C:
			err = s.store(ctx)
		case <-checkpoint.C:
			err = s.checkpoint(ctx)
		}
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// store writes what changed since the last time. What can't be written stays for the next time.
func (s *state) store(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	common, channels := s.take()
	if common == nil && len(channels) == 0 {
		return nil
	}
	err := s.states.Save(ctx, s.lease, s.connector, common, channels)
	if err != nil {
		s.giveBack(common != nil, channels)
		return fmt.Errorf("store how far the updates were taken: %w", err)
	}
	return nil
}

func (s *state) take() (*account.UpdateState, []account.ChannelState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var common *account.UpdateState
	if s.commonChanged {
		now := s.common
		common = &now
	}
	channels := make([]account.ChannelState, 0, len(s.changed))
	for id := range s.changed {
		channels = append(channels, s.channels[id].ChannelState)
	}
	s.commonChanged = false
	clear(s.changed)
	return common, channels
}

func (s *state) giveBack(common bool, channels []account.ChannelState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commonChanged = s.commonChanged || common
	for _, channel := range channels {
		s.changed[channel.ChannelID] = true
	}
}

func (s *state) checkpoint(ctx context.Context) error {
	if err := s.store(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.states.Checkpoint(ctx, s.lease, s.connector)
}

// pts returns how far the common updates were taken.
func (s *state) pts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.common.Pts
}

// followed returns the channels whose updates are followed.
func (s *state) followed() (ids []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.channels {
		if c.isFollowed() {
			ids = append(ids, id)
		}
	}
	return ids
}

// isKnown tells whether the account has a state at all.
func (s *state) isKnown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// follow begins with a channel behind the place in from. One that has its place goes on from there.
func (s *state) follow(from account.ChannelState) {
	s.change(from.ChannelID, func(c *channelState) {
		if !c.hasPlace() {
			c.Pts, c.FollowedFrom = from.Pts, from.FollowedFrom
		}
		if from.AccessHash != 0 {
			c.AccessHash = from.AccessHash
		}
	})
}

// followCommon begins with the common updates behind at. Of the messages that they number, newest is the newest.
func (s *state) followCommon(at updates.State, newest int) {
	s.changeCommon(func(c *account.UpdateState) {
		*c = account.UpdateState{Pts: at.Pts, Qts: at.Qts, Date: at.Date, Seq: at.Seq, FollowedFrom: newest + 1}
	})
}

// missed notes that an update of a channel, behind the place before, was dropped, and returns whether the manager does not follow the
// channel yet: then it must not begin with an update that comes later, but here.
func (s *state) missed(channelID int64, before int, accessHash int64) (unfollowed bool) {
	s.change(channelID, func(c *channelState) {
		if accessHash != 0 {
			c.AccessHash = accessHash
		}
		unfollowed = !c.adopted
		if unfollowed && (!c.hasPlace() || before < c.Pts) {
			// Telegram counts from 1; 0 would be nowhere.
			c.Pts = max(1, before)
		}
	})
	return unfollowed
}

// answered notes that Telegram has told the channel's updates up to their end.
func (s *state) answered(channelID int64) {
	s.change(channelID, func(c *channelState) { c.answered = time.Now() })
}

// note notes what updates tell of the account's channels themselves: that it has joined them, or left them.
func (s *state) note(updates []tg.UpdateClass, chats []tg.ChatClass) {
	for _, u := range updates {
		if u, ok := u.(*tg.UpdateChannel); ok {
			s.moved(u.ChannelID, accessHashOf(chats, u.ChannelID))
		}
	}
}

func (s *state) moved(channelID, accessHash int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	c.ChannelID, c.moved, c.asked = channelID, true, false
	if accessHash != 0 {
		c.AccessHash = accessHash
	}
	s.channels[channelID] = c
}

// unplaced returns a channel of which is to be asked where it stands, and false when there is none.
func (s *state) unplaced() (channelID int64, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.channels {
		unknown := c.moved && !c.hasPlace() || c.isFollowed() && c.FollowedFrom == 0
		if unknown && !c.asked && c.AccessHash != 0 {
			return id, true
		}
	}
	return 0, false
}

// place notes where a channel stands, which was asked: at pts, with newest as its newest message. Both are 0 when there is nothing to follow. A
// channel that has its place keeps it: from newest on it is followed for certain.
func (s *state) place(channelID int64, pts, newest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	c.asked = true
	if pts != 0 {
		if c.FollowedFrom == 0 {
			c.FollowedFrom = newest + 1
		}
		if !c.hasPlace() {
			c.Pts = pts
		}
		s.changed[channelID] = true
	}
	s.channels[channelID] = c
}

// channel returns what is known of a channel.
func (s *state) channel(channelID int64) channelState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[channelID]
}

// forbid notes that Telegram refuses the channel to the account, which is not asked for any more until its updates come again.
func (s *state) forbid(channelID int64) {
	s.change(channelID, func(c *channelState) { c.Inaccessible, c.adopted = time.Now(), false })
}

// change changes what is known of a channel, which is taken for accessible.
func (s *state) change(channelID int64, change func(c *channelState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	c.ChannelID, c.Inaccessible = channelID, time.Time{}
	change(&c)
	s.channels[channelID] = c
	s.changed[channelID] = true
}

func (s *state) changeCommon(change func(*account.UpdateState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.common)
	s.known, s.commonChanged = true, true
}

// GetState implements updates.StateStorage, as do the methods below it, of which none fails.
func (s *state) GetState(context.Context, int64) (updates.State, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return updates.State{Pts: s.common.Pts, Qts: s.common.Qts, Date: s.common.Date, Seq: s.common.Seq}, s.known, nil
}

func (s *state) SetState(_ context.Context, _ int64, to updates.State) error {
	s.changeCommon(func(c *account.UpdateState) { c.Pts, c.Qts, c.Date, c.Seq = to.Pts, to.Qts, to.Date, to.Seq })
	return nil
}

func (s *state) SetPts(_ context.Context, _ int64, pts int) error {
	s.changeCommon(func(c *account.UpdateState) { c.Pts = pts })
	return nil
}

func (s *state) SetQts(_ context.Context, _ int64, qts int) error {
	s.changeCommon(func(c *account.UpdateState) { c.Qts = qts })
	return nil
}

func (s *state) SetDate(_ context.Context, _ int64, date int) error {
	s.changeCommon(func(c *account.UpdateState) { c.Date = date })
	return nil
}

func (s *state) SetSeq(_ context.Context, _ int64, seq int) error {
	s.changeCommon(func(c *account.UpdateState) { c.Seq = seq })
	return nil
}

func (s *state) SetDateSeq(_ context.Context, _ int64, date, seq int) error {
	s.changeCommon(func(c *account.UpdateState) { c.Date, c.Seq = date, seq })
	return nil
}

// GetChannelPts is asked when a channel's updates come, and then also for one that Telegram has refused before: it goes on from its place.
func (s *state) GetChannelPts(_ context.Context, _, channelID int64) (int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	if !c.hasPlace() {
		return 0, false, nil
	}
	c.adopted = true
	s.channels[channelID] = c
	return c.Pts, true, nil
}

func (s *state) SetChannelPts(_ context.Context, _, channelID int64, pts int) error {
	s.change(channelID, func(c *channelState) { c.Pts, c.adopted = pts, true })
	return nil
}

func (s *state) ForEachChannels(ctx context.Context, account int64, f func(ctx context.Context, channelID int64, pts int) error) error {
	for _, id := range s.followed() {
		pts, followed, err := s.GetChannelPts(ctx, account, id)
		if err == nil && followed {
			err = f(ctx, id, pts)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SetChannelAccessHash implements updates.ChannelAccessHasher, as does GetChannelAccessHash. A hash alone follows no channel.
func (s *state) SetChannelAccessHash(_ context.Context, _, channelID, accessHash int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	if c.AccessHash == accessHash {
		return nil
	}
	c.ChannelID, c.AccessHash = channelID, accessHash
	s.channels[channelID] = c
	s.changed[channelID] = true
	return nil
}

func (s *state) GetChannelAccessHash(_ context.Context, _, channelID int64) (int64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.channels[channelID]
	return c.AccessHash, known && c.AccessHash != 0, nil
}

// SetUserAccessHash implements updates.UserAccessHasher, as does GetUserAccessHash. Nothing is stored: the workers store what the
// same updates tell of users.
func (s *state) SetUserAccessHash(_ context.Context, _, userID, accessHash int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.users[userID]; !known && len(s.users) >= usersMost {
		for id := range s.users {
			delete(s.users, id)
			break
		}
	}
	s.users[userID] = accessHash
	return nil
}

func (s *state) GetUserAccessHash(ctx context.Context, _, userID int64) (int64, bool, error) {
	s.mu.Lock()
	hash, known := s.users[userID]
	s.mu.Unlock()
	if known {
		return hash, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	hash, known, err := s.hashes.Find(ctx, s.accountID, content.ChatID(userID))
	if err == nil && known {
		err = s.SetUserAccessHash(ctx, s.accountID, userID, hash)
	}
	return hash, known, err
}
