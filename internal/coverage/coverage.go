// Package coverage says of which messages of a chat it is certain that the archive was told, by their numbers: what was followed from a known message
// on or read from history is covered, what is known not to have been told is missing, and the rest nobody can know. It counts numbers, not messages:
// a number may belong to a message that was deleted before anybody could read it. It does no input or output.
package coverage

import (
	"cmp"
	"slices"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
)

// State is what is known of a range. The order is that of knowledge: of what several accounts know of one chat the most counts.
type State int

// The states.
const (
	// Unknown: nobody can say whether there was something that was not told.
	Unknown State = iota
	// Missing: it was not told, but a backfill can read it.
	Missing
	// Covered: all that is there was told.
	Covered
)

func (s State) String() string {
	return [...]string{"unknown", "missing", "covered"}[s]
}

// Why is the reason why a range is not covered.
type Why string

// The reasons.
const (
	// Before: messages of before the chat was followed.
	Before Why = "before it was followed"
	// Unfollowed: it is not known from where on the chat is followed, or no account follows it.
	Unfollowed Why = "not followed"
	// InHole: Telegram left messages out, and they are being read.
	InHole Why = "left out, to be filled"
	// Refused: Telegram refuses the chat to the account now, and Away: the account is not connected. What it was told before is there, but nobody
	// knows up to where that was.
	Refused Why = "telegram refuses the chat"
	Away    Why = "the account is not connected"
	// HoleUnplanned: Telegram left messages out, and nobody has looked which.
	HoleUnplanned Why = "left out, not yet looked at"
	// HoleGivenUp: Telegram left messages out, and their history can't be read.
	HoleGivenUp Why = "left out, history refused"
)

// Range is the messages with the numbers from From to To, both included.
type Range struct {
	From, To content.MessageID
	State    State
	// Why is empty for what is covered.
	Why Why
}

// Sight is what one account knows of a chat.
type Sight struct {
	// FollowedFrom is from which message on the account follows the chat; 0 when unknown, or when it does not.
	FollowedFrom content.MessageID
	// Ended is why the account does not follow the chat any more, Refused or Away; empty while it does.
	Ended Why
	// Backfills are the account's of the chat, and Holes those of the chat or of the account's numbering as a whole.
	Backfills []account.Backfill
	Holes     []account.Hole
}

// Of returns what is known of the messages from 1 to newest, without gaps and in order, when sights are what the accounts know that see the
// chat. It is empty when newest is 0.
func Of(newest content.MessageID, sights ...Sight) []Range {
	if newest < 1 {
		return nil
	}
	all := [][]Range{{{From: 1, To: newest, State: Unknown, Why: Unfollowed}}}
	for i := range sights {
		all = append(all, sights[i].ranges(newest))
	}
	// Between two bounds every account knows one thing.
	var bounds []content.MessageID
	for _, ranges := range all {
		for _, r := range ranges {
			bounds = append(bounds, r.From)
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	var merged []Range
	for i, from := range bounds {
		to := newest
		if i+1 < len(bounds) {
			to = bounds[i+1] - 1
		}
		best := all[0][0]
		for _, ranges := range all[1:] {
			at := slices.IndexFunc(ranges, func(r Range) bool { return r.From <= from && from <= r.To })
			if r := ranges[at]; r.State > best.State || r.State == best.State && best.Why == Unfollowed {
				best = r
			}
		}
		merged = add(merged, Range{From: from, To: to, State: best.State, Why: best.Why})
	}
	return merged
}

// add appends r, to the range before it where they are the same.
func add(ranges []Range, r Range) []Range {
	if last := len(ranges) - 1; last >= 0 && ranges[last].State == r.State && ranges[last].Why == r.Why {
		ranges[last].To = r.To
		return ranges
	}
	return append(ranges, r)
}

// ranges returns what the account knows of the messages from 1 to newest.
func (s *Sight) ranges(newest content.MessageID) []Range {
	known := []Range{{From: 1, To: newest, State: Unknown, Why: Unfollowed}}
	if s.FollowedFrom > 0 {
		known = paint(known, Range{From: 1, To: s.FollowedFrom - 1, State: Missing, Why: Before})
		followed := Range{From: s.FollowedFrom, To: newest, State: Covered}
		if s.Ended != "" {
			followed.State, followed.Why = Unknown, s.Ended
		}
		known = paint(known, followed)
	}
	for i := range s.Holes {
		for _, r := range s.rangesOf(&s.Holes[i], newest) {
			known = paint(known, r)
		}
	}
	// What was read was there: that a hole is around it takes nothing away.
	for i := range s.Backfills {
		if r, read := readBy(&s.Backfills[i]); read {
			known = paint(known, r)
		}
	}
	return known
}

// rangesOf returns what a hole takes away.
func (s *Sight) rangesOf(hole *account.Hole, newest content.MessageID) (taken []Range) {
	if hole.Status == account.HoleFilled {
		return nil
	}
	lost := Range{State: Missing, Why: InHole}
	if hole.Status == account.HoleGivenUp {
		lost = Range{State: Unknown, Why: HoleGivenUp}
	}
	for i := range s.Backfills {
		b := &s.Backfills[i]
		if b.HoleID == hole.ID {
			lost.From, lost.To = b.Floor+1, newest
			if b.Begin > 0 {
				lost.To = b.Begin - 1
			}
			taken = append(taken, lost)
		}
	}
	if len(taken) > 0 || hole.Status == account.HoleGivenUp && hole.Reason == content.ChannelTooLong {
		return taken
	}
	if hole.Status == account.HoleOpen {
		lost.State, lost.Why = Unknown, HoleUnplanned
	}
	lost.From, lost.To = max(1, s.FollowedFrom), newest
	return []Range{lost}
}

// readBy returns what a backfill has read, and false while that is nothing.
func readBy(b *account.Backfill) (Range, bool) {
	r := Range{From: b.Cursor, To: b.Top, State: Covered}
	if b.Begin > 0 {
		r.To = b.Begin - 1
	}
	if b.Top == 0 && b.Begin == 0 {
		// It found nothing, and nobody knows any more up to which message that is true.
		return r, false
	}
	if b.Status == account.BackfillDone && b.Since.IsZero() {
		r.From = b.Floor + 1
		return r, true
	}
	return r, b.Cursor != 0
}

// paint returns ranges with r in place of what was there. What of r is outside of them is left out.
func paint(ranges []Range, r Range) (painted []Range) {
	r.From, r.To = max(r.From, ranges[0].From), min(r.To, ranges[len(ranges)-1].To)
	if r.From > r.To {
		return ranges
	}
	for _, old := range ranges {
		before, behind := old, old
		before.To, behind.From = min(old.To, r.From-1), max(old.From, r.To+1)
		if before.From <= before.To {
			painted = append(painted, before)
		}
		if behind.From <= behind.To {
			painted = append(painted, behind)
		}
	}
	painted = append(painted, r)
	slices.SortFunc(painted, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	return painted
}
