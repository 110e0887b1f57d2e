package botapi

import (
	"github.com/go-json-experiment/json/jsontext"
)

// The types below hold what the archive keeps of Telegram's objects and nothing else; the decoder passes over
// every other field. Names and meanings: https://core.telegram.org/bots/api, as of Bot API 10.3. Widths are those
// of the archive's columns, so that a number which a column can't hold is found here and not by the database.

// update is an Update. Others keeps the members with no field of their own: the kinds that nobody here knows yet.
type update struct {
	UpdateID                int64            `json:"update_id"`
	Message                 *message         `json:"message"`
	EditedMessage           *message         `json:"edited_message"`
	ChannelPost             *message         `json:"channel_post"`
	EditedChannelPost       *message         `json:"edited_channel_post"`
	BusinessMessage         *message         `json:"business_message"`
	EditedBusinessMessage   *message         `json:"edited_business_message"`
	DeletedBusinessMessages *deletedMessages `json:"deleted_business_messages"`
	GuestMessage            *message         `json:"guest_message"`

	BusinessConnection       *businessConnection   `json:"business_connection"`
	MessageReaction          *reactionUpdated      `json:"message_reaction"`
	MessageReactionCount     *reactionCountUpdated `json:"message_reaction_count"`
	InlineQuery              *interaction          `json:"inline_query"`
	ChosenInlineResult       *interaction          `json:"chosen_inline_result"`
	CallbackQuery            *interaction          `json:"callback_query"`
	ShippingQuery            *interaction          `json:"shipping_query"`
	PreCheckoutQuery         *interaction          `json:"pre_checkout_query"`
	PurchasedPaidMedia       *interaction          `json:"purchased_paid_media"`
	Poll                     *poll                 `json:"poll"`
	PollAnswer               *pollAnswer           `json:"poll_answer"`
	MyChatMember             *memberUpdated        `json:"my_chat_member"`
	ChatMember               *memberUpdated        `json:"chat_member"`
	ChatJoinRequest          *interaction          `json:"chat_join_request"`
	ChatBoost                *boostUpdated         `json:"chat_boost"`
	RemovedChatBoost         *boostRemoved         `json:"removed_chat_boost"`
	ManagedBot               *interaction          `json:"managed_bot"`
	Subscription             *interaction          `json:"subscription"`
	StoppedMessageGeneration *interaction          `json:"stopped_message_generation"`

	Others jsontext.Value `json:",embed"`
}

// deletedMessages is a BusinessMessagesDeleted.
type deletedMessages struct {
	BusinessConnectionID string  `json:"business_connection_id"`
	Chat                 chat    `json:"chat"`
	MessageIDs           []int64 `json:"message_ids"`
}

type message struct {
	MessageID            int64          `json:"message_id"`
	MessageThreadID      int64          `json:"message_thread_id"`
	From                 *user          `json:"from"`
	SenderChat           *chat          `json:"sender_chat"`
	EphemeralMessageID   int64          `json:"ephemeral_message_id"`
	GuestQueryID         string         `json:"guest_query_id"`
	Date                 int64          `json:"date"`
	BusinessConnectionID string         `json:"business_connection_id"`
	Chat                 chat           `json:"chat"`
	ForwardOrigin        *origin        `json:"forward_origin"`
	IsTopicMessage       bool           `json:"is_topic_message"`
	IsAutomaticForward   bool           `json:"is_automatic_forward"`
	ReplyToMessage       *reply         `json:"reply_to_message"`
	ExternalReply        *externalReply `json:"external_reply"`
	Quote                *quote         `json:"quote"`
	ViaBot               *user          `json:"via_bot"`
	EditDate             int64          `json:"edit_date"`
	MediaGroupID         string         `json:"media_group_id"`
	AuthorSignature      string         `json:"author_signature"`
	Text                 string         `json:"text"`
	Entities             []entity       `json:"entities"`
	Caption              string         `json:"caption"`
	CaptionEntities      []entity       `json:"caption_entities"`

	Animation *file       `json:"animation"`
	Audio     *file       `json:"audio"`
	Document  *file       `json:"document"`
	LivePhoto *file       `json:"live_photo"`
	PaidMedia *paidMedia  `json:"paid_media"`
	Photo     []photoSize `json:"photo"`
	Sticker   *file       `json:"sticker"`
	Video     *file       `json:"video"`
	VideoNote *file       `json:"video_note"`
	Voice     *file       `json:"voice"`

	marks
	Rest jsontext.Value `json:",embed"`
}

type chat struct {
	ID        int64  `json:"id"`
	Type      string `json:"type"`
	Title     string `json:"title"`
	Username  string `json:"username"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	IsForum   bool   `json:"is_forum"`
}

type user struct {
	ID           int64  `json:"id"`
	IsBot        bool   `json:"is_bot"`
	FirstName    string `json:"first_name"`
	LastName     string `json:"last_name"`
	Username     string `json:"username"`
	LanguageCode string `json:"language_code"`
	IsPremium    bool   `json:"is_premium"`
}

// origin is a MessageOrigin of any of its four types.
type origin struct {
	Type            string `json:"type"`
	Date            int64  `json:"date"`
	SenderUser      *user  `json:"sender_user"`
	SenderUserName  string `json:"sender_user_name"`
	SenderChat      *chat  `json:"sender_chat"`
	Chat            *chat  `json:"chat"`
	MessageID       int64  `json:"message_id"`
	AuthorSignature string `json:"author_signature"`
}

// reply is as much of a replied Message (or InaccessibleMessage, whose date is 0) as names it.
type reply struct {
	MessageID          int64  `json:"message_id"`
	EphemeralMessageID int64  `json:"ephemeral_message_id"`
	Chat               chatID `json:"chat"`
}

type externalReply struct {
	Chat      chatID `json:"chat"`
	MessageID int64  `json:"message_id"`
}

type chatID struct {
	ID int64 `json:"id"`
}

type quote struct {
	Text string `json:"text"`
}

type entity struct {
	Type           string `json:"type"`
	Offset         int32  `json:"offset"`
	Length         int32  `json:"length"`
	URL            string `json:"url"`
	User           *user  `json:"user"`
	Language       string `json:"language"`
	CustomEmojiID  string `json:"custom_emoji_id"`
	UnixTime       int64  `json:"unix_time"`
	DateTimeFormat string `json:"date_time_format"`
}

// file is any of the objects that describe one file: Animation, Audio, Document, LivePhoto, Sticker, Video,
// VideoNote, Voice.
type file struct {
	FileID       string `json:"file_id"`
	FileUniqueID string `json:"file_unique_id"`
	FileName     string `json:"file_name"`
	MIMEType     string `json:"mime_type"`
	FileSize     int64  `json:"file_size"`
	Width        int32  `json:"width"`
	Height       int32  `json:"height"`
	Duration     int32  `json:"duration"`
	// Length is the width and the height of a VideoNote.
	Length int32          `json:"length"`
	Rest   jsontext.Value `json:",embed"`
}

type photoSize struct {
	FileID       string `json:"file_id"`
	FileUniqueID string `json:"file_unique_id"`
	FileSize     int64  `json:"file_size"`
	Width        int32  `json:"width"`
	Height       int32  `json:"height"`
}

type paidMedia struct {
	Items []paidItem `json:"paid_media"`
}

// paidItem is a PaidMedia of any type; a preview carries no file.
type paidItem struct {
	LivePhoto *file       `json:"live_photo"`
	Photo     []photoSize `json:"photo"`
	Video     *file       `json:"video"`
}

// mark keeps the value of a field that was there and says yes: neither null nor false. It is nil otherwise, and a pointer because
// there are many marks and at most one or two are set.
type mark struct{ value *jsontext.Value }

// UnmarshalJSONFrom reads one JSON value.
func (m *mark) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if kind := dec.PeekKind(); kind == 'n' || kind == 'f' {
		m.value = nil
		return dec.SkipValue()
	}
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	value = value.Clone()
	m.value = &value
	return nil
}

// marks is the table of what a message can be besides text and files: each content and service field of the Bot API's
// Message, if it was there. The tags are the kinds' names, and the order decides between two: a venue also sets location.
type marks struct {
	NewChatMembers mark `json:"new_chat_members"`
	LeftChatMember mark `json:"left_chat_member"`

	RichMessage mark `json:"rich_message"`
	Story       mark `json:"story"`
	Checklist   mark `json:"checklist"`
	Contact     mark `json:"contact"`
	Dice        mark `json:"dice"`
	Game        mark `json:"game"`
	Poll        mark `json:"poll"`
	Venue       mark `json:"venue"`
	Location    mark `json:"location"`

	ChatOwnerLeft                 mark `json:"chat_owner_left"`
	ChatOwnerChanged              mark `json:"chat_owner_changed"`
	NewChatTitle                  mark `json:"new_chat_title"`
	NewChatPhoto                  mark `json:"new_chat_photo"`
	DeleteChatPhoto               mark `json:"delete_chat_photo"`
	GroupChatCreated              mark `json:"group_chat_created"`
	SupergroupChatCreated         mark `json:"supergroup_chat_created"`
	ChannelChatCreated            mark `json:"channel_chat_created"`
	MessageAutoDeleteTimerChanged mark `json:"message_auto_delete_timer_changed"`
	MigrateToChatID               mark `json:"migrate_to_chat_id"`
	MigrateFromChatID             mark `json:"migrate_from_chat_id"`
	PinnedMessage                 mark `json:"pinned_message"`
	Invoice                       mark `json:"invoice"`
	SuccessfulPayment             mark `json:"successful_payment"`
	RefundedPayment               mark `json:"refunded_payment"`
	UsersShared                   mark `json:"users_shared"`
	ChatShared                    mark `json:"chat_shared"`
	Gift                          mark `json:"gift"`
	UniqueGift                    mark `json:"unique_gift"`
	GiftUpgradeSent               mark `json:"gift_upgrade_sent"`
	ConnectedWebsite              mark `json:"connected_website"`
	WriteAccessAllowed            mark `json:"write_access_allowed"`
	PassportData                  mark `json:"passport_data"`
	ProximityAlertTriggered       mark `json:"proximity_alert_triggered"`
	BoostAdded                    mark `json:"boost_added"`
	ChatBackgroundSet             mark `json:"chat_background_set"`
	ChecklistTasksDone            mark `json:"checklist_tasks_done"`
	ChecklistTasksAdded           mark `json:"checklist_tasks_added"`
	CommunityChatAdded            mark `json:"community_chat_added"`
	CommunityChatJoined           mark `json:"community_chat_joined"`
	CommunityChatRemoved          mark `json:"community_chat_removed"`
	DirectMessagePriceChanged     mark `json:"direct_message_price_changed"`
	ForumTopicCreated             mark `json:"forum_topic_created"`
	ForumTopicEdited              mark `json:"forum_topic_edited"`
	ForumTopicClosed              mark `json:"forum_topic_closed"`
	ForumTopicReopened            mark `json:"forum_topic_reopened"`
	GeneralForumTopicHidden       mark `json:"general_forum_topic_hidden"`
	GeneralForumTopicUnhidden     mark `json:"general_forum_topic_unhidden"`
	GiveawayCreated               mark `json:"giveaway_created"`
	Giveaway                      mark `json:"giveaway"`
	GiveawayWinners               mark `json:"giveaway_winners"`
	GiveawayCompleted             mark `json:"giveaway_completed"`
	ManagedBotCreated             mark `json:"managed_bot_created"`
	PaidMessagePriceChanged       mark `json:"paid_message_price_changed"`
	PollOptionAdded               mark `json:"poll_option_added"`
	PollOptionDeleted             mark `json:"poll_option_deleted"`
	SuggestedPostApproved         mark `json:"suggested_post_approved"`
	SuggestedPostApprovalFailed   mark `json:"suggested_post_approval_failed"`
	SuggestedPostDeclined         mark `json:"suggested_post_declined"`
	SuggestedPostPaid             mark `json:"suggested_post_paid"`
	SuggestedPostRefunded         mark `json:"suggested_post_refunded"`
	VideoChatScheduled            mark `json:"video_chat_scheduled"`
	VideoChatStarted              mark `json:"video_chat_started"`
	VideoChatEnded                mark `json:"video_chat_ended"`
	VideoChatParticipantsInvited  mark `json:"video_chat_participants_invited"`
	WebAppData                    mark `json:"web_app_data"`
}
