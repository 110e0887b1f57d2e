package operator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/coverage"
)

func backfillCoverage(env Env) *cobra.Command {
	var chat int64
	cmd := addJSON(&cobra.Command{
		Use:   "coverage",
		Short: "See which messages of a chat are covered, missing, or can't be known",
		Long: `Shows of each chat that accounts follow which messages the archive was told for certain, by their numbers, up to the newest that it has:

  #  covered: followed from a known message on, or read from history
  .  missing: not told; "tgfleet backfill start" can read it, or does already
  ?  unknown: nobody can say whether there was something that was not told

A number may belong to a message that was deleted before anybody could read it. Private chats and basic groups of an account number their messages
together, and are one line without --chat.` + settings(),
		Example: `  tgfleet backfill coverage
  tgfleet backfill coverage --chat -1001234567890
  tgfleet backfill coverage --json | jq '.[] | select(.missing > 0) | .chat_id'`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().Int64Var(&chat, "chat", 0, "only this chat, range by range")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			views, err := s.coverage(ctx, content.ChatID(chat))
			if err != nil {
				return err
			}
			return s.print(views, func(w io.Writer) {
				if chat == 0 {
					printCoverage(w, views)
					return
				}
				printRanges(w, views)
			})
		})
	}
	return cmd
}

// coverageView is one chat as the command prints it.
type coverageView struct {
	// ChatID is 0 for all that one account numbers together.
	ChatID     int64          `json:"chat_id"`
	Title      string         `json:"title,omitempty"`
	Connectors []string       `json:"connectors"`
	Newest     int64          `json:"newest_message_id"`
	Covered    int64          `json:"covered"`
	Missing    int64          `json:"missing"`
	Unknown    int64          `json:"unknown"`
	Ranges     []coverageLine `json:"ranges"`
}

type coverageLine struct {
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
}

// coverage returns the views of all chats that are followed, or of one.
func (s *session) coverage(ctx context.Context, chat content.ChatID) ([]coverageView, error) {
	f, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	seen := f.chats(chat)
	titles, err := s.db.Messages().Titles(ctx, slices.Collect(func(yield func(content.ChatID) bool) {
		for _, c := range seen {
			if !yield(c.id) {
				return
			}
		}
	}))
	if err != nil {
		return nil, err
	}
	views := []coverageView{}
	for _, c := range seen {
		newest, err := s.db.Messages().Newest(ctx, c.scope, c.id)
		if err != nil {
			return nil, err
		}
		if newest == 0 && chat != 0 {
			continue
		}
		v := coverageView{ChatID: int64(c.id), Title: titles[c.id], Newest: int64(newest), Ranges: []coverageLine{}}
		var sights []coverage.Sight
		for _, connector := range c.connectors {
			v.Connectors = append(v.Connectors, connector.Label)
			sights = append(sights, f.sight(connector, c.id))
		}
		v.add(coverage.Of(newest, sights...))
		views = append(views, v)
	}
	return views, nil
}

func (v *coverageView) add(ranges []coverage.Range) {
	for _, r := range ranges {
		n := int64(r.To - r.From + 1)
		switch r.State {
		case coverage.Covered:
			v.Covered += n
		case coverage.Missing:
			v.Missing += n
		case coverage.Unknown:
			v.Unknown += n
		}
		v.Ranges = append(v.Ranges, coverageLine{From: int64(r.From), To: int64(r.To), State: r.State.String(), Why: string(r.Why)})
	}
}

// facts are all that is known of what accounts follow and have read.
type facts struct {
	connectors map[string]*account.Connector
	followings []account.Following
	backfills  []account.Backfill
	holes      []account.Hole
}

func (s *session) facts(ctx context.Context) (f facts, err error) {
	connectors, err := s.db.Connectors().List(ctx)
	if err != nil {
		return f, err
	}
	f.connectors = map[string]*account.Connector{}
	for i := range connectors {
		f.connectors[connectors[i].ID] = &connectors[i]
	}
	if f.followings, err = s.db.UpdateStates().Followings(ctx); err != nil {
		return f, err
	}
	if f.backfills, err = s.db.Backfills().List(ctx); err != nil {
		return f, err
	}
	f.holes, err = s.db.Backfills().Holes(ctx)
	return f, err
}

// sightedChat is a chat, or with the id 0 all that one account numbers together, and who sees it.
type sightedChat struct {
	id         content.ChatID
	scope      content.Scope
	connectors []*account.Connector
}

// chats returns the chats that accounts follow, or the one that is asked for: a private chat or a basic group once for each account.
func (f *facts) chats(asked content.ChatID) (chats []sightedChat) {
	_, isChannel := asked.Channel()
	byChannel := map[content.ChatID][]*account.Connector{}
	for _, following := range f.followings {
		c := f.connectors[following.ConnectorID]
		switch {
		case c == nil || asked != 0 && following.ChatID != 0 && following.ChatID != asked:
		case following.ChatID != 0:
			byChannel[following.ChatID] = append(byChannel[following.ChatID], c)
		case !isChannel:
			chats = append(chats, sightedChat{id: asked, scope: content.Scope(c.AccountID), connectors: []*account.Connector{c}})
		}
	}
	if isChannel && len(byChannel) == 0 {
		byChannel[asked] = nil
	}
	for _, id := range slices.SortedFunc(maps.Keys(byChannel), func(a, b content.ChatID) int { return cmp.Compare(b, a) }) {
		chats = append(chats, sightedChat{id: id, scope: content.ScopeShared, connectors: byChannel[id]})
	}
	return chats
}

// sight returns what one account knows of a chat.
func (f *facts) sight(c *account.Connector, chat content.ChatID) (sight coverage.Sight) {
	numbered := chat
	if _, isChannel := chat.Channel(); !isChannel {
		numbered = 0
	}
	for _, following := range f.followings {
		if following.ConnectorID != c.ID || following.ChatID != numbered {
			continue
		}
		sight.FollowedFrom = following.From
		switch {
		case !following.Inaccessible.IsZero():
			sight.Ended = coverage.Refused
		case c.Status != account.Connected:
			sight.Ended = coverage.Away
		}
	}
	for i := range f.backfills {
		if b := &f.backfills[i]; b.ConnectorID == c.ID && b.ChatID == chat {
			sight.Backfills = append(sight.Backfills, *b)
		}
	}
	for i := range f.holes {
		h := &f.holes[i]
		if h.AccountID != c.AccountID || h.ChatID != numbered {
			continue
		}
		fills := f.fillsOf(h.ID)
		// A hole of all that the account numbers takes nothing from a chat in which nothing is read for it.
		ofOthers := chat != numbered && len(fills) > 0 && !slices.ContainsFunc(fills, func(b account.Backfill) bool { return b.ChatID == chat })
		if ofOthers {
			continue
		}
		sight.Holes = append(sight.Holes, *h)
		if chat == 0 {
			sight.Backfills = append(sight.Backfills, fills...)
		}
	}
	return sight
}

// fillsOf returns what is read for a hole, as if nothing were read of it yet: what one chat has read says nothing of the others that the account
// numbers with it.
func (f *facts) fillsOf(hole int64) (fills []account.Backfill) {
	for i := range f.backfills {
		if b := f.backfills[i]; b.HoleID == hole {
			b.Top, b.Cursor, b.Status = 0, 0, account.BackfillWaiting
			fills = append(fills, b)
		}
	}
	return fills
}

func printCoverage(w io.Writer, views []coverageView) {
	if len(views) == 0 {
		row(w, "No account follows a chat yet: tgfleet connector add --label LABEL")
		return
	}
	row(w, "CHAT", "TITLE", "ACCOUNTS", "NEWEST", "COVERED", "MISSING", "UNKNOWN", "")
	for i := range views {
		v := &views[i]
		chat := strconv.FormatInt(v.ChatID, 10)
		if v.ChatID == 0 {
			chat = "private chats and basic groups"
		}
		row(w, chat, v.Title, strings.Join(v.Connectors, ", "), v.Newest, v.Covered, v.Missing, v.Unknown, v.picture())
	}
}

func printRanges(w io.Writer, views []coverageView) {
	if len(views) == 0 {
		row(w, "No account has a message of that chat.")
		return
	}
	for i := range views {
		v := &views[i]
		row(w, v.Title, strings.Join(v.Connectors, ", "), v.picture())
		for _, r := range v.Ranges {
			row(w, fmt.Sprintf("%d to %d", r.From, r.To), r.State, r.Why)
		}
	}
}

// picture draws the ranges from the oldest message to the newest, each cell as the worst that is in it.
func (v *coverageView) picture() string {
	if v.Newest == 0 {
		return ""
	}
	cells := make([]byte, barCells)
	for i := range cells {
		from, to := v.Newest*int64(i)/barCells+1, max(v.Newest*int64(i+1)/barCells, v.Newest*int64(i)/barCells+1)
		cells[i] = '#'
		for _, r := range v.Ranges {
			switch {
			case r.To < from || r.From > to:
			case r.State == coverage.Unknown.String():
				cells[i] = '?'
			case r.State == coverage.Missing.String() && cells[i] == '#':
				cells[i] = '.'
			}
		}
	}
	return "[" + string(cells) + "]"
}
