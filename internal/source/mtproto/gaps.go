package mtproto

import (
	"maps"
	"sync"
	"time"

	"github.com/gotd/td/tg"
)

// gaps remembers what was dropped before the manager saw it, until the manager is told to ask for it: the account's common updates, and
// each channel by itself. It is bounded by the channels that the account has.
type gaps struct {
	state *state

	// mu guards commonUpdates and channels: handlers write them, the feed reads them.
	mu            sync.Mutex
	commonUpdates bool
	channels      map[int64]gap
}

// gap is what is known of the updates of a channel that were dropped.
type gap struct {
	// before is the place in the channel's sequence before the first of them, and last that of the last; both 0 when unknown.
	before, last int
	// unfollowed says that the manager did not follow the channel when they were dropped.
	unfollowed bool
}

func newGaps(s *state) *gaps { return &gaps{state: s, channels: map[int64]gap{}} }

// common notes that the account's common updates are to be asked for.
func (g *gaps) common() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commonUpdates = true
}

// channel notes that a channel's updates are to be asked for.
func (g *gaps) channel(id int64, of gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known, noted := g.channels[id]
	if !noted {
		g.channels[id] = of
		return
	}
	if of.last != 0 {
		if known.last == 0 || of.before < known.before {
			known.before = of.before
		}
		known.last = max(known.last, of.last)
	}
	known.unfollowed = known.unfollowed || of.unfollowed
	g.channels[id] = known
}

// note notes what the container u belongs to.
func (g *gaps) note(u tg.UpdatesClass) {
	updates, chats := parts(u)
	if updates == nil {
		g.common()
	}
	for _, update := range updates {
		id, pts, count, ofChannel, err := tg.IsChannelPtsUpdate(update)
		if tooLong, ok := update.(*tg.UpdateChannelTooLong); ok {
			g.channel(tooLong.ChannelID, gap{})
			continue
		}
		if !ofChannel || err != nil {
			g.common()
			continue
		}
		unfollowed := g.state.missed(id, pts-count, accessHashOf(chats, id))
		g.channel(id, gap{before: pts - count, last: pts, unfollowed: unfollowed})
	}
}

// parts returns the updates of a container and the chats that it tells of; nil when it is not of the kinds that tell.
func parts(u tg.UpdatesClass) ([]tg.UpdateClass, []tg.ChatClass) {
	switch u := u.(type) {
	case *tg.Updates:
		return u.Updates, u.Chats
	case *tg.UpdatesCombined:
		return u.Updates, u.Chats
	case *tg.UpdateShort:
		return []tg.UpdateClass{u.Update}, nil
	default:
		return nil, nil
	}
}

// accessHashOf returns the access hash that chats tell of a channel; 0 for none.
func accessHashOf(chats []tg.ChatClass, id int64) int64 {
	for _, chat := range chats {
		if c, ok := chat.(*tg.Channel); ok && c.ID == id && !c.Min {
			return c.AccessHash
		}
	}
	return 0
}

// ask returns what lets the manager ask for all that was noted, and forgets it: the manager keeps its place in each sequence, and asks
// again when it was not answered.
func (g *gaps) ask() (ask []tg.UpdatesClass) {
	g.mu.Lock()
	commonUpdates, channels := g.commonUpdates, maps.Clone(g.channels)
	g.commonUpdates = false
	clear(g.channels)
	g.mu.Unlock()
	if commonUpdates {
		ask = append(ask, &tg.UpdatesTooLong{})
	}
	for id, of := range channels {
		ask = append(ask, askChannel(id, of))
	}
	return ask
}

// askChannel returns what lets the manager ask for a channel's difference. The manager passes over the news that a channel moved too far
// when it does not follow the channel; it begins to follow one with an update that has a place in the sequence, from where the state
// says.
func askChannel(id int64, of gap) tg.UpdatesClass {
	var update tg.UpdateClass = &tg.UpdateChannelTooLong{ChannelID: id}
	if of.unfollowed {
		update = &tg.UpdateDeleteChannelMessages{ChannelID: id, Pts: of.last, PtsCount: of.last - of.before}
	}
	return &tg.Updates{Updates: []tg.UpdateClass{update}, Date: int(time.Now().Unix())}
}
