package mtproto

import (
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// service adds a message that tells what happened in the chat.
func (b *builder) service(m *tg.MessageService, on occasion) {
	if m.Date <= 0 {
		b.reject("a message without a date")
	}
	out := content.Message{
		Key:               b.key(m.PeerID, m.ID),
		Version:           b.versionOf(m.Date, 0, on, m),
		NormaliserVersion: normalise.Version,
		Date:              timeOf(m.Date),
	}
	b.sender(&out, m.FromID, m.PeerID, m.Post, m.Out)
	b.privateChat(m.PeerID)
	var value any
	out.Kind, value = b.action(m, &out)
	if value != nil {
		out.Content = jsonOf(value)
	}
	switch m.Action.(type) {
	case *tg.MessageActionPinMessage:
		// What was pinned stands in the header as if it was answered.
	case *tg.MessageActionTopicCreate:
		out.ThreadID, out.IsTopicMessage = out.Key.MessageID, true
	default:
		b.reply(&out, m.ReplyTo, m.PeerID, m.Post)
	}
	b.changes.Messages = append(b.changes.Messages, out)
	if reactions, told := m.GetReactions(); told {
		b.embeddedReactions(out.Key, &reactions, m.Date)
	}
}

// action returns the kind of what happened, and its value under that kind's name; nil where the archive keeps nothing of it but the name.
func (b *builder) action(m *tg.MessageService, out *content.Message) (content.MessageKind, any) {
	switch a := m.Action.(type) {
	case *tg.MessageActionChatCreate:
		return "group_chat_created", true
	case *tg.MessageActionChatEditTitle:
		return "new_chat_title", clean(a.Title)
	case *tg.MessageActionChatEditPhoto:
		return "new_chat_photo", photoSizes(a.Photo)
	case *tg.MessageActionChatDeletePhoto:
		return "delete_chat_photo", true
	case *tg.MessageActionChatAddUser:
		return "new_chat_members", b.usersOf(a.Users)
	case *tg.MessageActionChatJoinedByLink, *tg.MessageActionChatJoinedByRequest:
		return "new_chat_members", b.usersOf([]int64{int64(out.FromID)})
	case *tg.MessageActionChatDeleteUser:
		return "left_chat_member", b.userObject(a.UserID)
	case *tg.MessageActionChannelCreate:
		return b.channelCreated(m), true
	case *tg.MessageActionChatMigrateTo:
		to := content.ChatOfChannel(a.ChannelID)
		b.migration(out.Key.ChatID, to, m.Date)
		return "migrate_to_chat_id", to
	case *tg.MessageActionChannelMigrateFrom:
		from := content.ChatID(-a.ChatID)
		b.migration(from, out.Key.ChatID, m.Date)
		return "migrate_from_chat_id", from
	case *tg.MessageActionPinMessage:
		return "pinned_message", pinned(m, out.Key.ChatID)
	case *tg.MessageActionSetMessagesTTL:
		return "message_auto_delete_timer_changed", object{"message_auto_delete_time": a.Period}
	case *tg.MessageActionGeoProximityReached:
		return "proximity_alert_triggered", object{
			"traveler": object{"id": chatOf(a.FromID)}, "watcher": object{"id": chatOf(a.ToID)}, "distance": a.Distance,
		}
	case *tg.MessageActionBoostApply:
		return "boost_added", object{"boost_count": a.Boosts}
	case *tg.MessageActionPaidMessagesPrice:
		if m.Post {
			return "direct_message_price_changed", object{
				"are_direct_messages_enabled": a.BroadcastMessagesAllowed, "direct_message_star_count": a.Stars,
			}
		}
		return "paid_message_price_changed", object{"paid_message_star_count": a.Stars}
	case *tg.MessageActionWebViewDataSentMe:
		return "web_app_data", object{"button_text": clean(a.Text), "data": clean(a.Data)}
	case *tg.MessageActionBotAllowed:
		if domain, has := a.GetDomain(); has {
			return "connected_website", clean(domain)
		}
		return "write_access_allowed", object{}
	}
	if kind, value := b.talk(m.Action); kind != kindUnknown {
		return kind, value
	}
	return named(m.Action), nil
}

// talk returns the kind and the value of what happened to topics, calls and giveaways; unknown for everything else.
func (b *builder) talk(action tg.MessageActionClass) (content.MessageKind, any) {
	switch a := action.(type) {
	case *tg.MessageActionTopicCreate:
		return "forum_topic_created", with(object{"name": clean(a.Title), "icon_color": a.IconColor}, "icon_custom_emoji_id", decimal(a.IconEmojiID))
	case *tg.MessageActionTopicEdit:
		return topicEdited(a)
	case *tg.MessageActionGroupCall:
		if duration, ended := a.GetDuration(); ended {
			return "video_chat_ended", object{"duration": duration}
		}
		return "video_chat_started", object{}
	case *tg.MessageActionGroupCallScheduled:
		return "video_chat_scheduled", object{"start_date": a.ScheduleDate}
	case *tg.MessageActionInviteToGroupCall:
		return "video_chat_participants_invited", object{"users": b.usersOf(a.Users)}
	case *tg.MessageActionGiveawayLaunch:
		return "giveaway_created", with(object{}, "prize_star_count", a.Stars)
	case *tg.MessageActionGiveawayResults:
		return "giveaway_completed", with(with(object{"winner_count": a.WinnersCount}, "unclaimed_prize_count", a.UnclaimedCount),
			"is_star_giveaway", a.Stars)
	case *tg.MessageActionSuggestedPostApproval:
		switch {
		case a.BalanceTooLow:
			return "suggested_post_approval_failed", nil
		case a.Rejected:
			return "suggested_post_declined", with(object{}, "comment", clean(a.RejectComment))
		default:
			return "suggested_post_approved", with(object{}, "send_date", a.ScheduleDate)
		}
	default:
		return kindUnknown, nil
	}
}

// topicEdited tells apart what Telegram tells in one action.
func topicEdited(a *tg.MessageActionTopicEdit) (content.MessageKind, any) {
	if closed, told := a.GetClosed(); told {
		if closed {
			return "forum_topic_closed", object{}
		}
		return "forum_topic_reopened", object{}
	}
	if hidden, told := a.GetHidden(); told {
		if hidden {
			return "general_forum_topic_hidden", object{}
		}
		return "general_forum_topic_unhidden", object{}
	}
	o := with(object{}, "name", clean(a.Title))
	if icon, told := a.GetIconEmojiID(); told {
		o["icon_custom_emoji_id"] = decimal(icon)
	}
	return "forum_topic_edited", o
}

// named returns the kind of an action of which the archive keeps the name alone.
func named(action tg.MessageActionClass) content.MessageKind {
	if kind, known := actionKinds[action.TypeID()]; known {
		return kind
	}
	return kindUnknown
}

// actionKinds is the table of those actions. What the Bot API has no word for is unknown.
var actionKinds = map[uint32]content.MessageKind{
	tg.MessageActionPaymentSentMeTypeID:        "successful_payment",
	tg.MessageActionPaymentRefundedTypeID:      "refunded_payment",
	tg.MessageActionSecureValuesSentMeTypeID:   "passport_data",
	tg.MessageActionSetChatWallPaperTypeID:     "chat_background_set",
	tg.MessageActionStarGiftTypeID:             "gift",
	tg.MessageActionStarGiftUniqueTypeID:       "unique_gift",
	tg.MessageActionTodoCompletionsTypeID:      "checklist_tasks_done",
	tg.MessageActionTodoAppendTasksTypeID:      "checklist_tasks_added",
	tg.MessageActionSuggestedPostSuccessTypeID: "suggested_post_paid",
	tg.MessageActionSuggestedPostRefundTypeID:  "suggested_post_refunded",
	tg.MessageActionNewCreatorPendingTypeID:    "chat_owner_left",
	tg.MessageActionChangeCreatorTypeID:        "chat_owner_changed",
	tg.MessageActionPollAppendAnswerTypeID:     "poll_option_added",
	tg.MessageActionPollDeleteAnswerTypeID:     "poll_option_deleted",
	tg.MessageActionManagedBotCreatedTypeID:    "managed_bot_created",
}

// channelCreated tells a channel from a supergroup by what the container says of the chat, else by whose word it is.
func (b *builder) channelCreated(m *tg.MessageService) content.MessageKind {
	broadcast := m.Post
	if c, known := b.chatAt[chatOf(m.PeerID)].(*tg.Channel); known {
		broadcast = c.Broadcast
	}
	if broadcast {
		return "channel_chat_created"
	}
	return "supergroup_chat_created"
}

func (b *builder) migration(from, to content.ChatID, date int) {
	b.changes.ChatAliases = append(b.changes.ChatAliases, content.ChatAlias{ChatID: from, MigratedToChatID: to, Date: timeOf(date)})
}

// pinned names the message that was pinned, as the Bot API names one that it does not show: its date is 0.
func pinned(m *tg.MessageService, chat content.ChatID) any {
	h, is := m.ReplyTo.(*tg.MessageReplyHeader)
	if !is {
		return nil
	}
	return object{"chat": object{"id": chat}, "message_id": h.ReplyToMsgID, "date": 0}
}

// usersOf returns the users of these ids by the Bot API's names, as far as the container tells of them.
func (b *builder) usersOf(ids []int64) []object {
	out := make([]object, len(ids))
	for i, id := range ids {
		out[i] = b.userObject(id)
	}
	return out
}

func (b *builder) userObject(id int64) object {
	o := object{"id": id}
	if u := b.userAt[id]; u != nil {
		o["is_bot"], o["first_name"] = u.Bot, clean(u.FirstName)
		with(with(o, "last_name", clean(u.LastName)), "username", username(u.Username, u.Usernames))
	}
	return o
}

// photoSizes returns the sizes of a chat's new photo.
func photoSizes(p tg.PhotoClass) any {
	files := photoFile(p)
	if len(files) == 0 {
		return nil
	}
	return []object{{
		"file_unique_id": files[0].FileUniqueID, "file_size": files[0].SizeBytes, "width": files[0].Width, "height": files[0].Height,
	}}
}
