package mtproto_test

import (
	"fmt"
	"testing"

	"github.com/gotd/td/fileid"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
)

// The photo and the document of input_test.go, as the Bot API names them.
const (
	photoID    = "AQADTq4xG879mEV-"
	documentID = "AgADWAIAAnW3iEU"
)

// pair is one content as both normalisers are told of it: the fields of a Bot API message, and the message in TL.
type pair struct {
	json string
	tl   tg.MessageClass
}

func withMedia(media tg.MessageMediaClass, text string) tg.MessageClass {
	return said(func(m *tg.Message) { m.Media, m.Message = media, text })
}

func file(kind, rest string) string {
	return fmt.Sprintf(`%q:{"file_id":"f","file_unique_id":%q,"duration":3,"width":512,"height":512%s}`, kind, documentID, rest)
}

func entity(kind, rest string) string {
	return `{"type":"` + kind + `","offset":0,"length":4` + rest + `}`
}

// marked returns a text with one entity.
func marked(kind, rest string, e tg.MessageEntityClass) pair {
	return pair{
		`"text":"some 👍 text","entities":[` + entity(kind, rest) + `]`,
		said(func(m *tg.Message) { m.Message, m.Entities = "some 👍 text", []tg.MessageEntityClass{e} }),
	}
}

var pairs = map[string]pair{
	"text":           {`"text":"Good morning"`, said(func(m *tg.Message) { m.Message = "Good morning" })},
	"text with zero": {`"text":"a\u0000b"`, said(func(m *tg.Message) { m.Message = "a\x00b" })},
	"text with a web page": {`"text":"see https://example.org","entities":[{"type":"url","offset":4,"length":19}]`, said(func(m *tg.Message) {
		m.Message, m.Entities = "see https://example.org", []tg.MessageEntityClass{&tg.MessageEntityURL{Offset: 4, Length: 19}}
		m.Media = &tg.MessageMediaWebPage{Webpage: &tg.WebPageEmpty{ID: 1}}
	})},
	"mention":               marked("mention", "", &tg.MessageEntityMention{Length: 4}),
	"hashtag":               marked("hashtag", "", &tg.MessageEntityHashtag{Length: 4}),
	"cashtag":               marked("cashtag", "", &tg.MessageEntityCashtag{Length: 4}),
	"bot_command":           marked("bot_command", "", &tg.MessageEntityBotCommand{Length: 4}),
	"url":                   marked("url", "", &tg.MessageEntityURL{Length: 4}),
	"email":                 marked("email", "", &tg.MessageEntityEmail{Length: 4}),
	"phone_number":          marked("phone_number", "", &tg.MessageEntityPhone{Length: 4}),
	"bold":                  marked("bold", "", &tg.MessageEntityBold{Length: 4}),
	"italic":                marked("italic", "", &tg.MessageEntityItalic{Length: 4}),
	"underline":             marked("underline", "", &tg.MessageEntityUnderline{Length: 4}),
	"strikethrough":         marked("strikethrough", "", &tg.MessageEntityStrike{Length: 4}),
	"spoiler":               marked("spoiler", "", &tg.MessageEntitySpoiler{Length: 4}),
	"code":                  marked("code", "", &tg.MessageEntityCode{Length: 4}),
	"pre":                   marked("pre", "", &tg.MessageEntityPre{Length: 4}),
	"pre with a language":   marked("pre", `,"language":"go"`, &tg.MessageEntityPre{Length: 4, Language: "go"}),
	"text_link":             marked("text_link", `,"url":"https://example.org/"`, &tg.MessageEntityTextURL{Length: 4, URL: "https://example.org/"}),
	"text_mention":          marked("text_mention", `,"user":{"id":77}`, &tg.MessageEntityMentionName{Length: 4, UserID: 77}),
	"custom_emoji":          marked("custom_emoji", `,"custom_emoji_id":"5368324170671202286"`, &tg.MessageEntityCustomEmoji{Length: 4, DocumentID: 5368324170671202286}),
	"blockquote":            marked("blockquote", "", &tg.MessageEntityBlockquote{Length: 4}),
	"expandable_blockquote": marked("expandable_blockquote", "", &tg.MessageEntityBlockquote{Length: 4, Collapsed: true}),
	"date_time": marked("date_time", `,"unix_time":1789000000,"date_time_format":"wDT"`,
		&tg.MessageEntityFormattedDate{Length: 4, Date: 1789000000, DayOfWeek: true, LongDate: true, LongTime: true}),
	"date_time, short": marked("date_time", `,"unix_time":1789000000,"date_time_format":"dt"`,
		&tg.MessageEntityFormattedDate{Length: 4, Date: 1789000000, ShortDate: true, ShortTime: true}),
	"date_time, relative": marked("date_time", `,"unix_time":1789000000,"date_time_format":"r"`,
		&tg.MessageEntityFormattedDate{Length: 4, Date: 1789000000, Relative: true}),
	"a bank card, which the Bot API hides": {
		`"text":"4111 1111"`,
		said(func(m *tg.Message) {
			m.Message, m.Entities = "4111 1111", []tg.MessageEntityClass{&tg.MessageEntityBankCard{Length: 9}}
		}),
	},
	"photo": {
		`"photo":[{"file_id":"s","file_unique_id":"AQADTq4xG879mEV4","width":90,"height":67},` +
			`{"file_id":"l","file_unique_id":"` + photoID + `","width":1280,"height":960}],"caption":"look","caption_entities":[` + entity("bold", "") + `]`,
		said(func(m *tg.Message) {
			m.Media, m.Message, m.Entities = photoMedia(), "look", []tg.MessageEntityClass{&tg.MessageEntityBold{Length: 4}}
		}),
	},
	"video": {file("video", "") + `,"caption":"look"`, withMedia(document("video/mp4",
		&tg.DocumentAttributeVideo{Duration: 2.6, W: 512, H: 512}, &tg.DocumentAttributeFilename{FileName: "a.mp4"}), "look")},
	"animation": {file("animation", "") + `,` + file("document", "") + `,"caption":"look"`, withMedia(document("video/mp4",
		&tg.DocumentAttributeVideo{Duration: 3, W: 512, H: 512}, &tg.DocumentAttributeAnimated{}), "look")},
	"video_note": {`"video_note":{"file_unique_id":"` + documentID + `","length":240,"duration":3}`, withMedia(document("video/mp4",
		&tg.DocumentAttributeVideo{RoundMessage: true, Duration: 3, W: 240, H: 240}), "")},
	"audio": {file("audio", "") + `,"caption":"hear"`, withMedia(document("audio/mpeg", &tg.DocumentAttributeAudio{Duration: 3}), "hear")},
	"voice": {file("voice", "") + `,"caption":"hear"`, withMedia(document("audio/ogg", &tg.DocumentAttributeAudio{Voice: true, Duration: 3}), "hear")},
	"sticker": {file("sticker", ""), withMedia(document("image/webp",
		&tg.DocumentAttributeImageSize{W: 512, H: 512}, &tg.DocumentAttributeSticker{Alt: "👍", Stickerset: &tg.InputStickerSetEmpty{}}), "")},
	"sticker, a video": {file("sticker", ""), withMedia(document("video/webm",
		&tg.DocumentAttributeVideo{W: 512, H: 512}, &tg.DocumentAttributeSticker{Alt: "👍", Stickerset: &tg.InputStickerSetEmpty{}}), "")},
	"document": {file("document", "") + `,"caption":"read"`, withMedia(document("application/pdf",
		&tg.DocumentAttributeFilename{FileName: "a.pdf"}), "read")},
	"paid_media": {
		`"paid_media":{"star_count":5,"paid_media":[{"type":"photo","photo":[{"file_unique_id":"` + photoID + `","width":9,"height":9}]},` +
			`{"type":"video",` + file("video", "") + `},{"type":"preview"}]},"caption":"buy"`,
		withMedia(&tg.MessageMediaPaidMedia{StarsAmount: 5, ExtendedMedia: []tg.MessageExtendedMediaClass{
			&tg.MessageExtendedMedia{Media: photoMedia()},
			&tg.MessageExtendedMedia{Media: document("video/mp4", &tg.DocumentAttributeVideo{W: 512, H: 512})},
			&tg.MessageExtendedMediaPreview{},
		}}, "buy"),
	},
	"contact":  {`"contact":{"phone_number":"+1555","first_name":"A"}`, withMedia(&tg.MessageMediaContact{PhoneNumber: "+1555", FirstName: "A"}, "")},
	"location": {`"location":{"latitude":1,"longitude":2}`, withMedia(&tg.MessageMediaGeo{Geo: &tg.GeoPoint{Lat: 1, Long: 2}}, "")},
	"location, live": {
		`"location":{"latitude":1,"longitude":2,"live_period":60}`,
		withMedia(&tg.MessageMediaGeoLive{Geo: &tg.GeoPoint{Lat: 1, Long: 2}, Period: 60}, ""),
	},
	"venue": {
		`"venue":{"title":"Pub"},"location":{"latitude":1,"longitude":2}`,
		withMedia(&tg.MessageMediaVenue{Geo: &tg.GeoPoint{Lat: 1, Long: 2}, Title: "Pub"}, ""),
	},
	"dice": {`"dice":{"emoji":"🎲","value":6}`, withMedia(&tg.MessageMediaDice{Emoticon: "🎲", Value: 6}, "")},
	"game": {
		`"game":{"title":"Snake","description":"","photo":[]}`,
		withMedia(&tg.MessageMediaGame{Game: tg.Game{ID: 1, Title: "Snake", Photo: &tg.PhotoEmpty{}}}, "play"),
	},
	"poll": {
		`"poll":{"id":"99","question":"Tea?","options":[{"text":"yes","voter_count":1}],"total_voter_count":1,"type":"regular"}`,
		withMedia(poll(), ""),
	},
	"invoice":  {`"invoice":{"title":"Soap"}`, withMedia(&tg.MessageMediaInvoice{Title: "Soap", Currency: "EUR"}, "")},
	"story":    {`"story":{"chat":{"id":77,"type":"private"},"id":3}`, withMedia(&tg.MessageMediaStory{Peer: &tg.PeerUser{UserID: 77}, ID: 3}, "")},
	"giveaway": {`"giveaway":{"winner_count":2}`, withMedia(&tg.MessageMediaGiveaway{Channels: []int64{channel}, Quantity: 2, UntilDate: sent}, "")},
	"giveaway_winners": {
		`"giveaway_winners":{"winner_count":2}`,
		withMedia(&tg.MessageMediaGiveawayResults{ChannelID: channel, WinnersCount: 2, UntilDate: sent}, ""),
	},
	"checklist":         {`"checklist":{"title":"Shopping","tasks":[]}`, withMedia(&tg.MessageMediaToDo{Todo: tg.TodoList{Title: tg.TextWithEntities{Text: "Shopping"}}}, "")},
	"what nobody knows": {`"brand_new":{}`, withMedia(&tg.MessageMediaUnsupported{}, "")},

	"group_chat_created":                {`"group_chat_created":true`, happened(&tg.MessageActionChatCreate{Title: "A", Users: []int64{77}})},
	"new_chat_title":                    {`"new_chat_title":"B"`, happened(&tg.MessageActionChatEditTitle{Title: "B"})},
	"new_chat_photo":                    {`"new_chat_photo":[]`, happened(&tg.MessageActionChatEditPhoto{Photo: photo()})},
	"delete_chat_photo":                 {`"delete_chat_photo":true`, happened(&tg.MessageActionChatDeletePhoto{})},
	"new_chat_members":                  {`"new_chat_members":[{"id":77}]`, happened(&tg.MessageActionChatAddUser{Users: []int64{77}})},
	"joined by a link":                  {`"new_chat_members":[{"id":77}]`, happened(&tg.MessageActionChatJoinedByLink{InviterID: 77})},
	"joined by request":                 {`"new_chat_members":[{"id":77}]`, happened(&tg.MessageActionChatJoinedByRequest{})},
	"left_chat_member":                  {`"left_chat_member":{"id":77}`, happened(&tg.MessageActionChatDeleteUser{UserID: 77})},
	"supergroup_chat_created":           {`"supergroup_chat_created":true`, happened(&tg.MessageActionChannelCreate{Title: "A"})},
	"migrate_to_chat_id":                {`"migrate_to_chat_id":-1001894420716`, happened(&tg.MessageActionChatMigrateTo{ChannelID: channel})},
	"migrate_from_chat_id":              {`"migrate_from_chat_id":-4321`, happened(&tg.MessageActionChannelMigrateFrom{Title: "A", ChatID: group})},
	"pinned_message":                    {`"pinned_message":{"message_id":7}`, happened(&tg.MessageActionPinMessage{})},
	"message_auto_delete_timer_changed": {`"message_auto_delete_timer_changed":{"message_auto_delete_time":60}`, happened(&tg.MessageActionSetMessagesTTL{Period: 60})},
	"proximity_alert_triggered": {
		`"proximity_alert_triggered":{"distance":5}`,
		happened(&tg.MessageActionGeoProximityReached{FromID: &tg.PeerUser{UserID: 77}, ToID: &tg.PeerUser{UserID: 78}, Distance: 5}),
	},
	"boost_added":                  {`"boost_added":{"boost_count":1}`, happened(&tg.MessageActionBoostApply{Boosts: 1})},
	"forum_topic_created":          {`"forum_topic_created":{"name":"A","icon_color":1}`, happened(&tg.MessageActionTopicCreate{Title: "A", IconColor: 1})},
	"forum_topic_edited":           {`"forum_topic_edited":{"name":"B"}`, happened(&tg.MessageActionTopicEdit{Title: "B"})},
	"forum_topic_closed":           {`"forum_topic_closed":{}`, happened(topicEdit(func(a *tg.MessageActionTopicEdit) { a.SetClosed(true) }))},
	"forum_topic_reopened":         {`"forum_topic_reopened":{}`, happened(topicEdit(func(a *tg.MessageActionTopicEdit) { a.SetClosed(false) }))},
	"general_forum_topic_hidden":   {`"general_forum_topic_hidden":{}`, happened(topicEdit(func(a *tg.MessageActionTopicEdit) { a.SetHidden(true) }))},
	"general_forum_topic_unhidden": {`"general_forum_topic_unhidden":{}`, happened(topicEdit(func(a *tg.MessageActionTopicEdit) { a.SetHidden(false) }))},
	"video_chat_started":           {`"video_chat_started":{}`, happened(&tg.MessageActionGroupCall{Call: &tg.InputGroupCall{ID: 1}})},
	"video_chat_ended":             {`"video_chat_ended":{"duration":9}`, happened(callEnded())},
	"video_chat_scheduled":         {`"video_chat_scheduled":{"start_date":1}`, happened(&tg.MessageActionGroupCallScheduled{Call: &tg.InputGroupCall{ID: 1}, ScheduleDate: 1})},
	"video_chat_participants_invited": {
		`"video_chat_participants_invited":{"users":[]}`,
		happened(&tg.MessageActionInviteToGroupCall{Call: &tg.InputGroupCall{ID: 1}, Users: []int64{77}}),
	},
	"giveaway_created":               {`"giveaway_created":{}`, happened(&tg.MessageActionGiveawayLaunch{})},
	"giveaway_completed":             {`"giveaway_completed":{"winner_count":1}`, happened(&tg.MessageActionGiveawayResults{WinnersCount: 1})},
	"paid_message_price_changed":     {`"paid_message_price_changed":{"paid_message_star_count":5}`, happened(&tg.MessageActionPaidMessagesPrice{Stars: 5})},
	"write_access_allowed":           {`"write_access_allowed":{}`, happened(&tg.MessageActionBotAllowed{FromRequest: true})},
	"connected_website":              {`"connected_website":"example.org"`, happened(&tg.MessageActionBotAllowed{Domain: "example.org"})},
	"web_app_data":                   {`"web_app_data":{"data":"x","button_text":"y"}`, happened(&tg.MessageActionWebViewDataSentMe{Text: "y", Data: "x"})},
	"an action that nobody knows":    {`"brand_new":{}`, happened(&tg.MessageActionScreenshotTaken{})},
	"suggested_post_approved":        {`"suggested_post_approved":{}`, happened(&tg.MessageActionSuggestedPostApproval{})},
	"suggested_post_declined":        {`"suggested_post_declined":{}`, happened(&tg.MessageActionSuggestedPostApproval{Rejected: true})},
	"suggested_post_approval_failed": {`"suggested_post_approval_failed":{}`, happened(&tg.MessageActionSuggestedPostApproval{BalanceTooLow: true, Rejected: true})},
	"checklist_tasks_done":           {`"checklist_tasks_done":{}`, happened(&tg.MessageActionTodoCompletions{Completed: []int{1}})},
	"chat_background_set":            {`"chat_background_set":{}`, happened(&tg.MessageActionSetChatWallPaper{Wallpaper: &tg.WallPaperNoFile{}})},
}

func topicEdit(change func(*tg.MessageActionTopicEdit)) *tg.MessageActionTopicEdit {
	a := &tg.MessageActionTopicEdit{}
	change(a)
	return a
}

func callEnded() *tg.MessageActionGroupCall {
	a := &tg.MessageActionGroupCall{Call: &tg.InputGroupCall{ID: 1}}
	a.SetDuration(9)
	return a
}

func poll() *tg.MessageMediaPoll {
	return &tg.MessageMediaPoll{
		Poll: tg.Poll{ID: 99, Question: tg.TextWithEntities{Text: "Tea?"}, Answers: []tg.PollAnswerClass{
			&tg.PollAnswer{Text: tg.TextWithEntities{Text: "yes"}, Option: []byte("0")},
		}},
		Results: tg.PollResults{Results: []tg.PollAnswerVoters{{Option: []byte("0"), Voters: 1}}, TotalVoters: 1},
	}
}

// TestBothSourcesSeeOneContent is the promise that a message which a bot and several accounts see is one message with one content.
func TestBothSourcesSeeOneContent(t *testing.T) {
	t.Parallel()
	seen := map[content.ContentHash]string{}
	for name, pair := range pairs {
		bot := one(t, fromBot(t, fmt.Sprintf(`{"update_id":1,"message":{"message_id":42,"date":%d,"from":{"id":5839201744,"first_name":"M"},`+
			`"chat":{"id":%d,"type":"supergroup","title":"A"},%s}}`, sent, chatID(channel), pair.json)))
		seen[bot.ContentHash()] = name
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, account := range []int64{account, other} {
				m := one(t, normalised(t, pushTo(t, account, updates(newPost(pair.tl)))))
				require.Equal(t, bot.Kind, m.Kind)
				require.Equal(t, bot.Text, m.Text)
				require.Equal(t, bot.Entities, m.Entities)
				require.Equal(t, uniqueIDs(&bot), uniqueIDs(&m))
				require.Equal(t, bot.ContentHash(), m.ContentHash())
				require.Equal(t, bot.Key, m.Key)
				require.Equal(t, bot.Date, m.Date)
				require.Equal(t, bot.FromID, m.FromID)
			}
		})
	}
	require.Greater(t, len(seen), len(pairs)*9/10, "contents differ from each other, but for some service messages and what is unknown")
}

func uniqueIDs(m *content.Message) (ids []string) {
	for i := range m.Media {
		ids = append(ids, m.Media[i].Kind+" "+m.Media[i].FileUniqueID)
	}
	return ids
}

// TestFileUniqueIDsAreTheBotAPIs compares with what public bots were told: each file_id holds the id from which its file_unique_id follows.
func TestFileUniqueIDsAreTheBotAPIs(t *testing.T) {
	t.Parallel()
	for fileID, uniqueID := range map[string]string{
		"AgACAgEAAxkBAANlZ7KOK-jx7fnQk_R7AgeBiftJPwgAAk6uMRvO_ZhFGhwablc3zuMBAAMCAANzAAM2BA": "AQADTq4xG879mEV4",
		"AgACAgEAAxkBAANlZ7KOK-jx7fnQk_R7AgeBiftJPwgAAk6uMRvO_ZhFGhwablc3zuMBAAMCAANtAAM2BA": "AQADTq4xG879mEVy",
		"AgACAgUAAxkBAAMRaH8qXw-VQSGAG4X4VoCg9A5nE50AAvLGMRtBGPlXGt4-FX4l2_oBAAMCAANzAAM2BA": "AQAD8sYxG0EY-Vd4",
		"AgACAgQAAxkDAAMrY-Dl6RVPgljtK-nJzFLeroLc_pAAAi-wMRugoNRSk24VsivkZcUBAAMCAANzAAMuBA": "AQADL7AxG6Cg1FJ4",
		"CAACAgEAAxUAAWMweAEx9LKl8d-dYGeRqWNWd05fAAJYAgACdbeIRW8TQqAINfmpKQQ":                "AgADWAIAAnW3iEU",
	} {
		id, err := fileid.DecodeFileID(fileID)
		require.NoError(t, err)
		var media tg.MessageMediaClass
		if id.Type == fileid.Photo {
			p := &tg.MessageMediaPhoto{}
			p.SetPhoto(&tg.Photo{ID: id.ID, Sizes: []tg.PhotoSizeClass{&tg.PhotoSize{Type: string(id.PhotoSizeSource.ThumbnailType), W: 1, H: 1}}})
			media = p
		} else {
			d := &tg.MessageMediaDocument{}
			d.SetDocument(&tg.Document{ID: id.ID})
			media = d
		}
		m := one(t, normalised(t, push(t, updates(newPost(withMedia(media, ""))))))
		require.Len(t, m.Media, 1)
		require.Equal(t, uniqueID, m.Media[0].FileUniqueID)
	}
}
