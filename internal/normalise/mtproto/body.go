package mtproto

import (
	"strconv"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// kindUnknown is the kind of a message whose content the Bot API does not name.
const kindUnknown content.MessageKind = "unknown"

// body is what a message mainly is. Captioned says that its text is shown: of a game, a poll or a place the Bot API
// shows none, and one content has one hash.
type body struct {
	kind      content.MessageKind
	content   content.JSON
	files     []content.Media
	captioned bool
}

// body returns what m mainly is, and adds what follows from it for more than the message.
func (b *builder) body(m *tg.Message) body {
	if _, rich := m.GetRichMessage(); rich {
		return body{kind: "rich_message"}
	}
	media, has := m.GetMedia()
	if _, preview := media.(*tg.MessageMediaWebPage); !has || preview {
		return textBody(m)
	}
	switch media := media.(type) {
	case *tg.MessageMediaPhoto:
		return fileBody(photoOrLive(media))
	case *tg.MessageMediaDocument:
		return fileBody(documentFile(media.Document))
	case *tg.MessageMediaPaidMedia:
		return body{kind: "paid_media", files: paidFiles(media.ExtendedMedia), captioned: true}
	case *tg.MessageMediaPoll:
		return body{kind: "poll", content: b.poll(&media.Poll, &media.Results)}
	case *tg.MessageMediaEmpty:
		return textBody(m)
	}
	kind, value := other(media)
	if kind == kindUnknown {
		return body{kind: kind, captioned: true}
	}
	return body{kind: kind, content: jsonOf(value)}
}

func textBody(m *tg.Message) body {
	if m.Message == "" {
		return body{kind: kindUnknown}
	}
	return body{kind: "text", captioned: true}
}

// fileBody is what a message with one file is; a file that is gone leaves a message of which nothing is known.
func fileBody(files []content.Media) body {
	if len(files) == 0 {
		return body{kind: kindUnknown, captioned: true}
	}
	kind := files[0].Kind
	return body{kind: content.MessageKind(kind), files: files, captioned: kind != "sticker" && kind != "video_note"}
}

// photoOrLive returns the photo, or the video that a live one shows.
func photoOrLive(media *tg.MessageMediaPhoto) []content.Media {
	if video, has := media.GetVideo(); has && media.LivePhoto {
		if files := documentFile(video); len(files) > 0 {
			files[0].Kind = "live_photo"
			return files
		}
	}
	return photoFile(media.Photo)
}

// paidFiles returns the files that are paid for; a preview has none.
func paidFiles(list []tg.MessageExtendedMediaClass) []content.Media {
	var files []content.Media
	for _, one := range list {
		paid, is := one.(*tg.MessageExtendedMedia)
		if !is {
			continue
		}
		switch media := paid.Media.(type) {
		case *tg.MessageMediaPhoto:
			files = append(files, photoOrLive(media)...)
		case *tg.MessageMediaDocument:
			for _, file := range documentFile(media.Document) {
				// The Bot API knows photos and videos here, and nothing else.
				file.Kind = "video"
				files = append(files, file)
			}
		}
	}
	return files
}

// other returns the kind of what is neither text nor a file, and its value under that kind's name.
func other(media tg.MessageMediaClass) (content.MessageKind, any) {
	switch media := media.(type) {
	case *tg.MessageMediaContact:
		o := object{"phone_number": clean(media.PhoneNumber), "first_name": clean(media.FirstName)}
		return "contact", with(with(with(o, "last_name", clean(media.LastName)), "vcard", clean(media.Vcard)), "user_id", media.UserID)
	case *tg.MessageMediaGeo:
		return "location", location(media.Geo)
	case *tg.MessageMediaGeoLive:
		return "location", with(with(with(location(media.Geo), "live_period", media.Period), "heading", media.Heading),
			"proximity_alert_radius", media.ProximityNotificationRadius)
	case *tg.MessageMediaVenue:
		return "venue", venue(media)
	case *tg.MessageMediaDice:
		return "dice", object{"emoji": clean(media.Emoticon), "value": media.Value}
	case *tg.MessageMediaGame:
		return "game", object{"title": clean(media.Game.Title), "description": clean(media.Game.Description)}
	case *tg.MessageMediaInvoice:
		return "invoice", object{
			"title": clean(media.Title), "description": clean(media.Description), "start_parameter": clean(media.StartParam),
			"currency": clean(media.Currency), "total_amount": media.TotalAmount,
		}
	case *tg.MessageMediaStory:
		return "story", object{"chat": object{"id": chatOf(media.Peer)}, "id": media.ID}
	case *tg.MessageMediaGiveaway:
		return "giveaway", giveaway(media)
	case *tg.MessageMediaGiveawayResults:
		return "giveaway_winners", object{
			"chat": object{"id": content.ChatOfChannel(media.ChannelID)}, "giveaway_message_id": media.LaunchMsgID,
			"winners_selection_date": media.UntilDate, "winner_count": media.WinnersCount,
		}
	case *tg.MessageMediaToDo:
		return "checklist", object{"title": clean(media.Todo.Title.Text), "tasks": tasks(media.Todo.List)}
	default:
		return kindUnknown, nil
	}
}

func location(g tg.GeoPointClass) object {
	point, is := g.(*tg.GeoPoint)
	if !is {
		return object{}
	}
	return with(object{"latitude": point.Lat, "longitude": point.Long}, "horizontal_accuracy", point.AccuracyRadius)
}

func venue(v *tg.MessageMediaVenue) object {
	o := object{"location": location(v.Geo), "title": clean(v.Title), "address": clean(v.Address)}
	switch v.Provider {
	case "foursquare":
		return with(with(o, "foursquare_id", clean(v.VenueID)), "foursquare_type", clean(v.VenueType))
	case "gplaces":
		return with(with(o, "google_place_id", clean(v.VenueID)), "google_place_type", clean(v.VenueType))
	default:
		return o
	}
}

func giveaway(g *tg.MessageMediaGiveaway) object {
	chats := make([]object, len(g.Channels))
	for i, id := range g.Channels {
		chats[i] = object{"id": content.ChatOfChannel(id)}
	}
	o := object{"chats": chats, "winners_selection_date": g.UntilDate, "winner_count": g.Quantity}
	with(with(o, "only_new_members", g.OnlyNewSubscribers), "has_public_winners", g.WinnersAreVisible)
	with(with(o, "prize_description", clean(g.PrizeDescription)), "prize_star_count", g.Stars)
	return with(o, "premium_subscription_month_count", g.Months)
}

func tasks(list []tg.TodoItem) []object {
	out := make([]object, len(list))
	for i := range list {
		out[i] = object{"id": list[i].ID, "text": clean(list[i].Title.Text)}
	}
	return out
}

// pollOption is a PollOption, its fields in the Bot API's order.
type pollOption struct {
	Text       string `json:"text"`
	VoterCount int    `json:"voter_count"`
}

// poll adds p as it stands, and returns it as a message's content shows it. An account that may not see the votes (it has not voted itself)
// is told none: its snapshot is left out, so that it never takes them away from one who was told. No snapshot of a poll has a date, and a
// closed poll never opens again.
func (b *builder) poll(p *tg.Poll, results *tg.PollResults) content.JSON {
	voters := make(map[string]int, len(results.Results))
	for i := range results.Results {
		voters[string(results.Results[i].Option)] = results.Results[i].Voters
	}
	options := make([]pollOption, 0, len(p.Answers))
	for _, a := range p.Answers {
		if answer, is := a.(*tg.PollAnswer); is {
			options = append(options, pollOption{Text: clean(answer.Text.Text), VoterCount: voters[string(answer.Option)]})
		}
	}
	kind := "regular"
	if p.Quiz {
		kind = "quiz"
	}
	out := content.Poll{
		ID: strconv.FormatInt(p.ID, 10), Question: clean(p.Question.Text), Type: kind, IsClosed: p.Closed, IsAnonymous: !p.PublicVoters,
		AllowsMultipleAnswers: p.MultipleChoice, TotalVoterCount: int64(max(results.TotalVoters, 0)), CloseDate: timeOf(p.CloseDate),
		Options: jsonOf(options),
	}
	if len(results.Results) > 0 || results.TotalVoters == 0 {
		stamp := b.stamp(timeOf(0), b.update.UpdateID)
		stamp.Edit = p.Closed
		out.Version = content.NewVersion(stamp)
		b.changes.Polls = append(b.changes.Polls, out)
	}
	return jsonOf(with(object{
		"id": out.ID, "question": out.Question, "options": options, "total_voter_count": out.TotalVoterCount, "is_closed": out.IsClosed,
		"is_anonymous": out.IsAnonymous, "type": out.Type, "allows_multiple_answers": out.AllowsMultipleAnswers,
	}, "close_date", p.CloseDate))
}
