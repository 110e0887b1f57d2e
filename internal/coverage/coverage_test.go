package coverage_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/coverage"
)

const newest content.MessageID = 1000

func covered(from, to content.MessageID) coverage.Range {
	return coverage.Range{From: from, To: to, State: coverage.Covered}
}

func missing(from, to content.MessageID, why coverage.Why) coverage.Range {
	return coverage.Range{From: from, To: to, State: coverage.Missing, Why: why}
}

func unknown(from, to content.MessageID, why coverage.Why) coverage.Range {
	return coverage.Range{From: from, To: to, State: coverage.Unknown, Why: why}
}

func hole(id int64, status account.HoleStatus, below content.MessageID) account.Hole {
	return account.Hole{ID: id, Status: status, Hole: content.Hole{Reason: content.ChannelDifferenceTooLong, BelowMessageID: below}}
}

func TestCoverageIsWhatWasFollowedOrRead(t *testing.T) {
	t.Parallel()
	fill := account.Backfill{HoleID: 1, Begin: 800, Floor: 600, Status: account.BackfillWaiting}
	half := fill
	half.Top, half.Cursor, half.Status = 799, 700, account.BackfillRunning
	for name, c := range map[string]struct {
		sights []coverage.Sight
		want   []coverage.Range
	}{
		"nobody follows it": {nil, []coverage.Range{unknown(1, newest, coverage.Unfollowed)}},
		"nobody knows from where on": {
			[]coverage.Sight{{}}, []coverage.Range{unknown(1, newest, coverage.Unfollowed)},
		},
		"followed from the first message on": {
			[]coverage.Sight{{FollowedFrom: 1}}, []coverage.Range{covered(1, newest)},
		},
		"followed from somewhere on": {
			[]coverage.Sight{{FollowedFrom: 500}}, []coverage.Range{missing(1, 499, coverage.Before), covered(500, newest)},
		},
		"nothing has come since it is followed": {
			[]coverage.Sight{{FollowedFrom: newest + 1}}, []coverage.Range{missing(1, newest, coverage.Before)},
		},
		"followed until Telegram refused it": {
			[]coverage.Sight{{FollowedFrom: 500, Ended: coverage.Refused}},
			[]coverage.Range{missing(1, 499, coverage.Before), unknown(500, newest, coverage.Refused)},
		},
		"history that is read": {
			[]coverage.Sight{{FollowedFrom: 500, Backfills: []account.Backfill{{Top: 499, Cursor: 300, Status: account.BackfillRunning}}}},
			[]coverage.Range{missing(1, 299, coverage.Before), covered(300, newest)},
		},
		"history that is to be read": {
			[]coverage.Sight{{FollowedFrom: 500, Backfills: []account.Backfill{{Status: account.BackfillWaiting}}}},
			[]coverage.Range{missing(1, 499, coverage.Before), covered(500, newest)},
		},
		"history to its beginning, of which the oldest were deleted": {
			[]coverage.Sight{{FollowedFrom: 500, Backfills: []account.Backfill{{Top: 499, Cursor: 7, Status: account.BackfillDone}}}},
			[]coverage.Range{covered(1, newest)},
		},
		"history since a day": {
			[]coverage.Sight{{Backfills: []account.Backfill{{Top: 900, Cursor: 300, Status: account.BackfillDone, Since: time.Unix(1, 0)}}}},
			[]coverage.Range{unknown(1, 299, coverage.Unfollowed), covered(300, 900), unknown(901, newest, coverage.Unfollowed)},
		},
		"history that is empty": {
			[]coverage.Sight{{Backfills: []account.Backfill{{Status: account.BackfillDone}}}},
			[]coverage.Range{unknown(1, newest, coverage.Unfollowed)},
		},
		"history that failed half-way": {
			[]coverage.Sight{{Backfills: []account.Backfill{{Top: newest, Cursor: 300, Status: account.BackfillFailed}}}},
			[]coverage.Range{unknown(1, 299, coverage.Unfollowed), covered(300, newest)},
		},
		"a hole that nobody has looked at": {
			[]coverage.Sight{{FollowedFrom: 500, Holes: []account.Hole{hole(1, account.HoleOpen, 900)}}},
			[]coverage.Range{missing(1, 499, coverage.Before), unknown(500, newest, coverage.HoleUnplanned)},
		},
		"a hole that is to be filled": {
			[]coverage.Sight{{FollowedFrom: 1, Holes: []account.Hole{hole(1, account.HoleOpen, 800)}, Backfills: []account.Backfill{fill}}},
			[]coverage.Range{covered(1, 600), missing(601, 799, coverage.InHole), covered(800, newest)},
		},
		"a hole that is half filled": {
			[]coverage.Sight{{FollowedFrom: 1, Holes: []account.Hole{hole(1, account.HoleOpen, 800)}, Backfills: []account.Backfill{half}}},
			[]coverage.Range{covered(1, 600), missing(601, 699, coverage.InHole), covered(700, newest)},
		},
		"a hole that was given up half-way": {
			[]coverage.Sight{{FollowedFrom: 1, Holes: []account.Hole{hole(1, account.HoleGivenUp, 800)}, Backfills: []account.Backfill{half}}},
			[]coverage.Range{covered(1, 600), unknown(601, 699, coverage.HoleGivenUp), covered(700, newest)},
		},
		"a hole that was given up at once": {
			[]coverage.Sight{{FollowedFrom: 500, Holes: []account.Hole{hole(1, account.HoleGivenUp, 0)}}},
			[]coverage.Range{missing(1, 499, coverage.Before), unknown(500, newest, coverage.HoleGivenUp)},
		},
		"a hole that is filled": {
			[]coverage.Sight{{FollowedFrom: 1, Holes: []account.Hole{hole(1, account.HoleFilled, 800)}}}, []coverage.Range{covered(1, newest)},
		},
		"what one account lacks another has": {
			[]coverage.Sight{
				{FollowedFrom: 500, Holes: []account.Hole{hole(1, account.HoleGivenUp, 800)}},
				{FollowedFrom: 600},
			},
			[]coverage.Range{missing(1, 599, coverage.Before), covered(600, newest)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, coverage.Of(newest, c.sights...))
		})
	}
	require.Empty(t, coverage.Of(0, coverage.Sight{FollowedFrom: 1}))
}

// Whatever is known, every message is in one range, and more knowledge covers no less.
func TestCoverageHasEveryMessageOnce(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	number := func() content.MessageID { return content.MessageID(random.IntN(1100)) }
	ends := []account.BackfillStatus{account.BackfillWaiting, account.BackfillRunning, account.BackfillDone, account.BackfillFailed}
	for range 2000 {
		var sights []coverage.Sight
		for range random.IntN(3) {
			s := coverage.Sight{FollowedFrom: number()}
			for id := range random.IntN(3) {
				s.Holes = append(s.Holes, hole(int64(id), []account.HoleStatus{account.HoleOpen, account.HoleGivenUp}[random.IntN(2)], number()))
			}
			for range random.IntN(4) {
				s.Backfills = append(s.Backfills, account.Backfill{
					HoleID: int64(random.IntN(3)), Begin: number(), Floor: number(), Top: number(), Cursor: number(), Status: ends[random.IntN(4)],
				})
			}
			sights = append(sights, s)
		}
		before := 0
		for n := range len(sights) + 1 {
			next, sum := content.MessageID(1), 0
			for _, r := range coverage.Of(newest, sights[:n]...) {
				require.Equal(t, next, r.From)
				require.GreaterOrEqual(t, r.To, r.From)
				require.Equal(t, r.State == coverage.Covered, r.Why == "")
				next = r.To + 1
				if r.State == coverage.Covered {
					sum += int(r.To - r.From + 1)
				}
			}
			require.Equal(t, newest+1, next)
			require.GreaterOrEqual(t, sum, before)
			before = sum
		}
	}
}
