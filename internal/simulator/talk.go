package simulator

import (
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// The accounts that Telegram puts into `from` where a chat speaks. Source: https://core.telegram.org/bots/api#message, sender_chat.
var (
	anonymousAdmin = user{ID: 1087968824, IsBot: true, FirstName: "Group", Username: "GroupAnonymousBot"}
	telegramItself = user{ID: content.TelegramItself, FirstName: "Telegram"}
)

// post is one message as everybody sees it; what differs from bot to bot is put in by seenBy.
type post struct {
	// message is the message without message_id, file_ids and the message that it answers.
	message message
	// ids are its message_id for each bot that sees it; in channels and supergroups they are all the same.
	ids     map[*bot]content.MessageID
	replyTo *post
	// pins is the post that this one, a service message, says is pinned; nil otherwise.
	pins *post
	// fixed posts are those that nobody edits or forwards: service messages, and what the bots say themselves.
	fixed bool
}

// seenBy returns the message as b gets it. A message that is answered or pinned comes without the one that it answers itself.
// Source: https://core.telegram.org/bots/api#message, reply_to_message and pinned_message.
func (p *post) seenBy(b *bot) message {
	m := p.alone(b)
	if p.replyTo != nil {
		answered := p.replyTo.alone(b)
		m.ReplyToMessage = &answered
	}
	if p.pins != nil {
		pinned := p.pins.alone(b)
		m.PinnedMessage = &pinned
	}
	return m
}

// alone returns the message as b gets it, without any other message in it.
func (p *post) alone(b *bot) message {
	m := p.message
	m.MessageID = p.ids[b]
	m.media = m.filesFor(b.id)
	return m
}

// give posts an update, unless the town has posted all that it may.
func (t *town) give(b *bot, kind ingest.Kind, payload any) {
	if t.left == 0 {
		return
	}
	if t.server.post(b, kind, encode(payload)).id != 0 && t.left > 0 {
		t.left--
	}
}

// show gives every bot of the room its view of p.
func (t *town) show(r *room, p *post, kind ingest.Kind) {
	if r.chat.info.Type == content.Channel {
		kind = map[ingest.Kind]ingest.Kind{"message": "channel_post", "edited_message": "edited_channel_post"}[kind]
	}
	for _, b := range r.bots {
		t.give(b, kind, p.seenBy(b))
	}
}

// enter gives p its place in the room, without telling anyone.
func (t *town) enter(r *room, p *post) {
	p.ids = make(map[*bot]content.MessageID, len(r.bots))
	for _, b := range r.bots {
		if id, numbered := p.ids[r.bots[0]]; numbered && r.chat.shared() {
			p.ids[b] = id
			continue
		}
		p.ids[b] = t.server.nextMessageID(b, r.chat)
	}
	r.recent = append(r.recent, p)
	if len(r.recent) > mostRecent {
		r.recent = r.recent[1:]
	}
}

// say publishes a new message in the room.
func (t *town) say(r *room, p *post) {
	t.enter(r, p)
	t.show(r, p, "message")
}

// draft returns an empty message of someone in the room.
func (t *town) draft(r *room) *post {
	info := r.chat.info
	m := message{Chat: info, Date: t.server.clock.Now().Unix()}
	switch {
	case info.Type == content.Channel:
		m.SenderChat = &info
		if chance(t.random, 2) {
			m.AuthorSignature = pick(t.random, t.people).FirstName
		}
	case info.Type == content.Supergroup && chance(t.random, 25):
		m.From, m.SenderChat, m.AuthorSignature = &anonymousAdmin, &info, "admin"
	default:
		m.From = pick(t.random, r.chat.members)
	}
	if info.IsForum && len(r.topics) > 0 && !chance(t.random, 4) {
		m.IsTopicMessage, m.MessageThreadID = true, pick(t.random, r.topics)
	}
	return &post{message: m}
}

// older returns a post of the room that someone may still edit or forward, or nil.
func (t *town) older(r *room) *post {
	if len(r.recent) == 0 {
		return nil
	}
	if p := pick(t.random, r.recent); !p.fixed {
		return p
	}
	return nil
}

// talkInRoom is one person's message: words, an answer, a forward, or something attached.
func (t *town) talkInRoom(r *room) {
	p := t.draft(r)
	m := &p.message
	switch source := t.somewhere(); {
	case chance(t.random, 12):
		t.forward(m, source)
	case chance(t.random, 3):
		if t.attach(m) && !chance(t.random, 3) {
			m.Caption, m.CaptionEntities = t.write()
		}
	default:
		m.Text, m.Entities = t.write()
		if chance(t.random, 15) {
			m.LinkPreview = &linkPreviewOptions{IsDisabled: true}
		}
	}
	if answered := t.answered(r); answered != nil {
		p.replyTo = answered
		if answered.message.Text != "" && chance(t.random, 4) {
			words, position := t.part(answered.message.Text)
			m.Quote = &quote{Text: words, Position: position, IsManual: true}
		}
	}
	if chance(t.random, 15) && m.Text != "" {
		m.ViaBot, m.ReplyMarkup = &user{ID: 107705060, IsBot: true, FirstName: "Like Bot", Username: "like"}, t.keyboard()
	}
	t.say(r, p)
	if r.discussion != nil {
		t.copyToDiscussion(r, p)
	}
}

// answered returns the post that a new one answers, or nil when it answers none.
func (t *town) answered(r *room) *post {
	if len(r.recent) == 0 || !chance(t.random, 4) {
		return nil
	}
	return pick(t.random, r.recent)
}

// forward makes m a forward of something said in source, or words of its own when nothing was.
func (t *town) forward(m *message, source *room) {
	p := t.older(source)
	if p == nil {
		m.Text, m.Entities = t.write()
		return
	}
	from := &p.message
	m.Text, m.Entities, m.Caption, m.CaptionEntities = from.Text, from.Entities, from.Caption, from.CaptionEntities
	m.media, m.Contact, m.Dice, m.Location, m.Venue, m.Poll = from.media, from.Contact, from.Dice, from.Location, from.Venue, from.Poll
	origin := &forwardOrigin{Date: from.Date}
	switch {
	case source.chat.info.Type == content.Channel:
		origin.Type, origin.Chat, origin.MessageID = "channel", &source.chat.info, p.ids[source.bots[0]]
		origin.AuthorSignature = from.AuthorSignature
	case from.SenderChat != nil:
		origin.Type, origin.SenderChat, origin.AuthorSignature = "chat", from.SenderChat, from.AuthorSignature
	case chance(t.random, 3):
		origin.Type, origin.SenderUserName = "hidden_user", from.From.FirstName
	default:
		origin.Type, origin.SenderUser = "user", from.From
	}
	m.ForwardOrigin = origin
}

// copyToDiscussion is what Telegram does with a channel's post when the channel has a discussion group.
func (t *town) copyToDiscussion(channel *room, original *post) {
	p := &post{message: original.message}
	m := &p.message
	m.Chat, m.From, m.IsAutomaticForward, m.ReplyMarkup, m.Quote = channel.discussion.chat.info, &telegramItself, true, nil, nil
	m.ForwardOrigin = &forwardOrigin{
		Type: "channel", Chat: &channel.chat.info, MessageID: original.ids[channel.bots[0]],
		AuthorSignature: m.AuthorSignature, Date: m.Date,
	}
	t.say(channel.discussion, p)
}

// album sends several files with one media_group_id; now and then the same id turns up in a second chat.
func (t *town) album(r *room) {
	id := idText(13_800_000_000_000_000 + t.random.Int64N(1_000_000)*1_000 + t.number())
	rooms := []*room{r}
	if other := pick(t.random, t.talk); other != r && chance(t.random, 6) {
		rooms = append(rooms, other)
	}
	for _, r := range rooms {
		first := t.draft(r)
		first.message.Caption, first.message.CaptionEntities = t.write()
		for i := range 2 + t.random.IntN(4) {
			p := &post{message: first.message}
			if i > 0 {
				p.message.Caption, p.message.CaptionEntities = "", nil
			}
			p.message.MediaGroupID = id
			if chance(t.random, 4) {
				p.message.Video = t.video()
			} else {
				p.message.Photo = t.photo()
			}
			t.say(r, p)
		}
	}
}

// edit changes something that was said: the text, the caption, or nothing but what stands around it.
func (t *town) edit(r *room) {
	p := t.older(r)
	if p == nil {
		t.talkInRoom(r)
		return
	}
	m := &p.message
	m.EditDate = t.server.clock.Now().Unix()
	switch {
	case m.ReplyMarkup != nil && !chance(t.random, 3):
		m.ReplyMarkup = t.keyboard()
	case r.chat.info.Type == content.Channel && chance(t.random, 3):
		// A post whose views or reactions moved: the date of the edit and nothing else.
	case m.Text != "":
		m.Text, m.Entities = t.write()
	case len(m.Photo) > 0 || m.Video != nil || m.Document != nil:
		m.Caption, m.CaptionEntities = t.write()
	}
	t.show(r, p, "edited_message")
}
