package store

import (
	"cmp"
	"strings"

	"github.com/tgfleet/tgfleet/internal/content"
)

// holesTable has what Telegram is known not to have told. What the hole is makes its key, so that a repeat is no second hole and opens none that
// was closed; the earliest time at which it was found counts.
var holesTable = stateTable[*content.Hole]{
	table: &table[*content.Hole]{
		name: "holes",
		key:  []string{"account_id", "chat_id", "reason", "from_pts", "to_pts", "below_message_id"},
		columns: []column[*content.Hole]{
			{"account_id", ofNumber, func(h *content.Hole) any { return h.AccountID }},
			{"chat_id", ofNumber, func(h *content.Hole) any { return int64(h.ChatID) }},
			{"reason", ofText, func(h *content.Hole) any { return string(h.Reason) }},
			{"from_pts", ofNumber, func(h *content.Hole) any { return int64(h.FromPts) }},
			{"to_pts", ofNumber, func(h *content.Hole) any { return int64(h.ToPts) }},
			{"below_message_id", ofNumber, func(h *content.Hole) any { return int64(h.BelowMessageID) }},
			{"found_at", ofTime, func(h *content.Hole) any { return h.FoundAt }},
		},
		groups: []group{{newer: "excluded.found_at < holes.found_at", columns: []string{"found_at"}}},
	},
	compare: func(a, b *content.Hole) int {
		return cmp.Or(cmp.Compare(a.AccountID, b.AccountID), cmp.Compare(a.ChatID, b.ChatID), strings.Compare(string(a.Reason), string(b.Reason)),
			cmp.Compare(a.FromPts, b.FromPts), cmp.Compare(a.ToPts, b.ToPts), cmp.Compare(a.BelowMessageID, b.BelowMessageID))
	},
	merge: func(kept, next *content.Hole) *content.Hole {
		if next.FoundAt.Before(kept.FoundAt) {
			return next
		}
		return kept
	},
}

var accessHashesTable = stateTable[*content.AccessHash]{
	table: &table[*content.AccessHash]{
		name: "access_hashes",
		key:  []string{"account_id", "peer"},
		columns: []column[*content.AccessHash]{
			{"account_id", ofNumber, func(h *content.AccessHash) any { return h.AccountID }},
			{"peer", ofNumber, func(h *content.AccessHash) any { return int64(h.Peer) }},
			{"hash", ofNumber, func(h *content.AccessHash) any { return h.Hash }},
			{"version", ofBytes, func(h *content.AccessHash) any { return versionBytes(h.Version) }},
		},
		groups: []group{newerRow("access_hashes", "hash")},
	},
	compare: func(a, b *content.AccessHash) int {
		return cmp.Or(cmp.Compare(a.AccountID, b.AccountID), cmp.Compare(a.Peer, b.Peer))
	},
	merge: newestOf(func(h *content.AccessHash) content.Version { return h.Version }),
}
