package ingest

// Kinds are all kinds of updates that the Bot API 10.3 can send, in its own order (https://core.telegram.org/bots/api#update). Whoever
// receives for a bot asks for all of them by name: the default leaves chat_member, message_reaction and message_reaction_count out,
// and what allowed_updates does not name is lost for good. The list bounds nothing: an update of a kind that it does not have is
// taken like any other. Nobody may change it.
var Kinds = []Kind{
	"message",
	"edited_message",
	"channel_post",
	"edited_channel_post",
	"business_connection",
	"business_message",
	"edited_business_message",
	"deleted_business_messages",
	"guest_message",
	"message_reaction",
	"message_reaction_count",
	"inline_query",
	"chosen_inline_result",
	"callback_query",
	"shipping_query",
	"pre_checkout_query",
	"purchased_paid_media",
	"poll",
	"poll_answer",
	"my_chat_member",
	"chat_member",
	"chat_join_request",
	"chat_boost",
	"removed_chat_boost",
	"managed_bot",
	"subscription",
	"stopped_message_generation",
}
