package simulator

import "github.com/tgfleet/tgfleet/internal/content"

// The objects of the update kinds that are no messages. Source: https://core.telegram.org/bots/api#update.

type callbackQuery struct {
	ID           string  `json:"id"`
	From         *user   `json:"from"`
	Message      message `json:"message"`
	ChatInstance string  `json:"chat_instance"`
	Data         string  `json:"data"`
}

type inlineQuery struct {
	ID       string           `json:"id"`
	From     *user            `json:"from"`
	ChatType content.ChatType `json:"chat_type"`
	Query    string           `json:"query"`
	Offset   string           `json:"offset"`
}

type chosenInlineResult struct {
	From     *user  `json:"from"`
	Query    string `json:"query"`
	ResultID string `json:"result_id"`
}

type membership struct {
	User   *user  `json:"user"`
	Status string `json:"status"`
}

type memberUpdated struct {
	Chat          chatInfo   `json:"chat"`
	From          *user      `json:"from"`
	Date          int64      `json:"date"`
	OldChatMember membership `json:"old_chat_member"`
	NewChatMember membership `json:"new_chat_member"`
}

type reaction struct {
	Type  string `json:"type"`
	Emoji string `json:"emoji"`
}

type messageReaction struct {
	Chat        chatInfo          `json:"chat"`
	MessageID   content.MessageID `json:"message_id"`
	User        *user             `json:"user"`
	Date        int64             `json:"date"`
	OldReaction []reaction        `json:"old_reaction"`
	NewReaction []reaction        `json:"new_reaction"`
}

type reactionCount struct {
	Type       reaction `json:"type"`
	TotalCount int      `json:"total_count"`
}

type messageReactionCount struct {
	Chat      chatInfo          `json:"chat"`
	MessageID content.MessageID `json:"message_id"`
	Date      int64             `json:"date"`
	Reactions []reactionCount   `json:"reactions"`
}

type pollAnswer struct {
	PollID    string `json:"poll_id"`
	User      *user  `json:"user"`
	OptionIDs []int  `json:"option_ids"`
}

// invention is what an update of a kind that nobody knows yet might look like.
type invention struct {
	Chat    chatInfo `json:"chat"`
	From    *user    `json:"from"`
	Date    int64    `json:"date"`
	Payload struct {
		Depth  []int  `json:"depth"`
		Secret string `json:"next_big_thing"`
	} `json:"payload"`
}

var reactions = []string{"👍", "❤", "🔥", "🤡", "🕊", "👨‍💻"}

func (t *town) now() int64 { return t.server.clock.Now().Unix() }

// press is someone pressing a button under a message of the bot's own, which now and then is out of reach by then: such a
// message has the date 0. Source: https://core.telegram.org/bots/api#inaccessiblemessage.
func (t *town) press(r *room) {
	b := pick(t.random, r.bots)
	p := &post{message: message{From: &b.user, Chat: r.chat.info, Date: t.now(), ReplyMarkup: t.keyboard()}, fixed: true}
	p.message.Text, p.message.Entities = t.write()
	t.enter(r, p)
	seen := p.seenBy(b)
	if chance(t.random, 8) {
		seen = message{MessageID: seen.MessageID, Chat: seen.Chat}
	}
	t.give(b, "callback_query", callbackQuery{
		ID: idText(3_060_000_000_000_000_000 + t.number()), From: pick(t.random, r.chat.members), Message: seen,
		ChatInstance: digest(r.chat.info.Title+r.chat.info.FirstName, 12), Data: "like:" + idText(t.number()),
	})
}

// search is someone typing after the bot's name in any chat, and perhaps choosing a result.
func (t *town) search(r *room) {
	b, who := pick(t.random, r.bots), pick(t.random, r.chat.members)
	words := pick(t.random, sentences)
	t.give(b, "inline_query", inlineQuery{
		ID: idText(3_070_000_000_000_000_000 + t.number()), From: who, ChatType: r.chat.info.Type, Query: words,
	})
	if chance(t.random, 2) {
		t.give(b, "chosen_inline_result", chosenInlineResult{From: who, Query: words, ResultID: idText(t.number())})
	}
}

// react is a reaction to something said: by name in a group or a private chat, as a sum in a channel.
func (t *town) react(r *room) {
	p := t.older(r)
	if p == nil {
		t.talkInRoom(r)
		return
	}
	one := reaction{"emoji", pick(t.random, reactions)}
	for _, b := range r.bots {
		if r.chat.info.Type == content.Channel {
			t.give(b, "message_reaction_count", messageReactionCount{
				Chat: r.chat.info, MessageID: p.ids[b], Date: t.now(),
				Reactions: []reactionCount{{one, 1 + t.random.IntN(500)}},
			})
			continue
		}
		t.give(b, "message_reaction", messageReaction{
			Chat: r.chat.info, MessageID: p.ids[b], User: pick(t.random, r.chat.members), Date: t.now(),
			OldReaction: []reaction{}, NewReaction: []reaction{one},
		})
	}
}

// promote changes what a bot may do in a chat; in a private chat it is blocked or unblocked.
func (t *town) promote(r *room) {
	b := pick(t.random, r.bots)
	was, is := "member", "administrator"
	if r.chat.info.Type == content.Private {
		is = "kicked"
	}
	if chance(t.random, 2) {
		was, is = is, was
	}
	t.give(b, "my_chat_member", memberUpdated{
		Chat: r.chat.info, From: pick(t.random, r.chat.members), Date: t.now(),
		OldChatMember: membership{&b.user, was}, NewChatMember: membership{&b.user, is},
	})
}

// move is a person who joins or leaves: a chat_member update, and a service message in the chat.
func (t *town) move(r *room) {
	if r.chat.info.Type == content.Private {
		t.talkInRoom(r)
		return
	}
	who := pick(t.random, t.people)
	p := &post{message: message{From: who, Chat: r.chat.info, Date: t.now()}, fixed: true}
	was, is := "left", "member"
	if chance(t.random, 2) {
		was, is = is, was
		p.message.LeftChatMember = who
	} else {
		p.message.NewChatMembers = []user{*who}
	}
	for _, b := range r.bots {
		t.give(b, "chat_member", memberUpdated{
			Chat: r.chat.info, From: who, Date: t.now(), OldChatMember: membership{who, was}, NewChatMember: membership{who, is},
		})
	}
	t.say(r, p)
}

// vote is a poll: its message, an answer, and its new state.
func (t *town) vote(r *room) {
	p := t.draft(r)
	state := poll{
		ID: idText(5_400_000_000_000_000_000 + t.number()), Question: pick(t.random, sentences), Type: "regular",
		Options: []pollOption{{Text: "Да"}, {Text: "Nein"}, {Text: "🤷"}},
	}
	asked := state
	asked.Options = append([]pollOption(nil), state.Options...)
	p.message.Poll = &asked
	t.say(r, p)
	b, choice := pick(t.random, r.bots), t.random.IntN(len(state.Options))
	t.give(b, "poll_answer", pollAnswer{PollID: state.ID, User: pick(t.random, r.chat.members), OptionIDs: []int{choice}})
	state.Options[choice].VoterCount++
	state.TotalVoterCount++
	t.give(b, "poll", state)
}

// housekeep is a service message: a topic is opened, a message is pinned, or a basic group becomes a supergroup.
func (t *town) housekeep(r *room) {
	p := &post{message: message{From: pick(t.random, r.chat.members), Chat: r.chat.info, Date: t.now()}, fixed: true}
	switch older := t.older(r); {
	case r.chat.info.IsForum && len(r.topics) < len(topicNames):
		p.message.ForumTopicCreated = &forumTopic{Name: topicNames[len(r.topics)], IconColor: 7322096}
		p.message.IsTopicMessage = true
		if r.chat.shared() {
			p.message.MessageThreadID = r.chat.lastMessageID + 1
			r.topics = append(r.topics, p.message.MessageThreadID)
		}
		t.say(r, p)
	case r.chat.info.Type == content.Group && t.spareGroups > 0:
		t.spareGroups--
		t.migrate(r, p)
	case older != nil:
		p.pins = older
		t.say(r, p)
	default:
		t.talkInRoom(r)
	}
}

// migrate turns a basic group into a supergroup: both chats say so, and from then on people speak in the new one.
func (t *town) migrate(r *room, farewell *post) {
	old := r.chat.info
	info := chatInfo{ID: content.ChatID(-1_002_900_000_000 - t.number()), Type: content.Supergroup, Title: old.Title}
	farewell.message.MigrateToChatID = info.ID
	t.say(r, farewell)
	r.chat = t.server.addChat(info, r.chat.members...)
	r.recent = nil
	t.say(r, &post{message: message{
		From: &anonymousAdmin, SenderChat: &info, Chat: info, Date: t.now(), MigrateFromChatID: old.ID,
	}, fixed: true})
}

// invent posts an update of a kind that does not exist yet.
func (t *town) invent(r *room) {
	payload := invention{Chat: r.chat.info, From: pick(t.random, r.chat.members), Date: t.now()}
	payload.Payload.Depth, payload.Payload.Secret = []int{1, 2, 3}, pick(t.random, sentences)
	t.give(pick(t.random, r.bots), "message_from_the_future", payload)
}
