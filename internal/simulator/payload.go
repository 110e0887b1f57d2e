package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tgfleet/tgfleet/internal/content"
)

// The Bot API's objects, with their fields in the order in which Telegram writes them.
// Source: https://core.telegram.org/bots/api#available-types.

type user struct {
	ID           int64  `json:"id"`
	IsBot        bool   `json:"is_bot"`
	FirstName    string `json:"first_name"`
	LastName     string `json:"last_name,omitempty"`
	Username     string `json:"username,omitempty"`
	LanguageCode string `json:"language_code,omitempty"`
	IsPremium    bool   `json:"is_premium,omitempty"`
}

type chatInfo struct {
	ID        content.ChatID   `json:"id"`
	FirstName string           `json:"first_name,omitempty"`
	LastName  string           `json:"last_name,omitempty"`
	Title     string           `json:"title,omitempty"`
	Username  string           `json:"username,omitempty"`
	IsForum   bool             `json:"is_forum,omitempty"`
	Type      content.ChatType `json:"type"`
}

type message struct {
	MessageID          content.MessageID `json:"message_id"`
	From               *user             `json:"from,omitempty"`
	SenderChat         *chatInfo         `json:"sender_chat,omitempty"`
	AuthorSignature    string            `json:"author_signature,omitempty"`
	Chat               chatInfo          `json:"chat"`
	Date               int64             `json:"date"`
	EditDate           int64             `json:"edit_date,omitempty"`
	ForwardOrigin      *forwardOrigin    `json:"forward_origin,omitempty"`
	IsAutomaticForward bool              `json:"is_automatic_forward,omitempty"`
	IsTopicMessage     bool              `json:"is_topic_message,omitempty"`
	MessageThreadID    content.MessageID `json:"message_thread_id,omitempty"`
	ReplyToMessage     *message          `json:"reply_to_message,omitempty"`
	Quote              *quote            `json:"quote,omitempty"`
	ViaBot             *user             `json:"via_bot,omitempty"`
	MediaGroupID       string            `json:"media_group_id,omitempty"`

	Text        string              `json:"text,omitempty"`
	Entities    []entity            `json:"entities,omitempty"`
	LinkPreview *linkPreviewOptions `json:"link_preview_options,omitempty"`
	media
	Contact         *contact  `json:"contact,omitempty"`
	Dice            *dice     `json:"dice,omitempty"`
	Location        *location `json:"location,omitempty"`
	Venue           *venue    `json:"venue,omitempty"`
	Poll            *poll     `json:"poll,omitempty"`
	Caption         string    `json:"caption,omitempty"`
	CaptionEntities []entity  `json:"caption_entities,omitempty"`
	HasMediaSpoiler bool      `json:"has_media_spoiler,omitempty"`

	NewChatMembers    []user          `json:"new_chat_members,omitempty"`
	LeftChatMember    *user           `json:"left_chat_member,omitempty"`
	PinnedMessage     *message        `json:"pinned_message,omitempty"`
	ForumTopicCreated *forumTopic     `json:"forum_topic_created,omitempty"`
	MigrateToChatID   content.ChatID  `json:"migrate_to_chat_id,omitempty"`
	MigrateFromChatID content.ChatID  `json:"migrate_from_chat_id,omitempty"`
	ReplyMarkup       *inlineKeyboard `json:"reply_markup,omitempty"`
}

type forwardOrigin struct {
	Type            string            `json:"type"`
	SenderUser      *user             `json:"sender_user,omitempty"`
	SenderUserName  string            `json:"sender_user_name,omitempty"`
	SenderChat      *chatInfo         `json:"sender_chat,omitempty"`
	Chat            *chatInfo         `json:"chat,omitempty"`
	MessageID       content.MessageID `json:"message_id,omitempty"`
	AuthorSignature string            `json:"author_signature,omitempty"`
	Date            int64             `json:"date"`
}

type quote struct {
	Text     string   `json:"text"`
	Entities []entity `json:"entities,omitempty"`
	Position int      `json:"position"`
	IsManual bool     `json:"is_manual,omitempty"`
}

type entity struct {
	Offset        int    `json:"offset"`
	Length        int    `json:"length"`
	Type          string `json:"type"`
	URL           string `json:"url,omitempty"`
	User          *user  `json:"user,omitempty"`
	Language      string `json:"language,omitempty"`
	CustomEmojiID string `json:"custom_emoji_id,omitempty"`
}

type linkPreviewOptions struct {
	URL        string `json:"url,omitempty"`
	IsDisabled bool   `json:"is_disabled,omitempty"`
}

// media is the files of a message. An animation also sets Document, and the largest of a photo's sizes may stand anywhere.
type media struct {
	Animation *file  `json:"animation,omitempty"`
	Audio     *file  `json:"audio,omitempty"`
	Document  *file  `json:"document,omitempty"`
	Photo     []file `json:"photo,omitempty"`
	Sticker   *file  `json:"sticker,omitempty"`
	Video     *file  `json:"video,omitempty"`
	VideoNote *file  `json:"video_note,omitempty"`
	Voice     *file  `json:"voice,omitempty"`
}

// file stands for every kind of file: what one kind does not have, it leaves empty.
type file struct {
	Performer    string `json:"performer,omitempty"`
	Title        string `json:"title,omitempty"`
	Duration     int    `json:"duration,omitempty"`
	Length       int    `json:"length,omitempty"`
	Width        int    `json:"width,omitempty"`
	Height       int    `json:"height,omitempty"`
	FileName     string `json:"file_name,omitempty"`
	MIMEType     string `json:"mime_type,omitempty"`
	Emoji        string `json:"emoji,omitempty"`
	SetName      string `json:"set_name,omitempty"`
	IsAnimated   bool   `json:"is_animated,omitempty"`
	IsVideo      bool   `json:"is_video,omitempty"`
	Type         string `json:"type,omitempty"`
	Thumbnail    *file  `json:"thumbnail,omitempty"`
	FileID       string `json:"file_id"`
	FileUniqueID string `json:"file_unique_id"`
	FileSize     int64  `json:"file_size,omitempty"`
}

type contact struct {
	PhoneNumber string `json:"phone_number"`
	FirstName   string `json:"first_name"`
	UserID      int64  `json:"user_id,omitempty"`
}

type dice struct {
	Emoji string `json:"emoji"`
	Value int    `json:"value"`
}

type location struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

type venue struct {
	Location location `json:"location"`
	Title    string   `json:"title"`
	Address  string   `json:"address"`
}

type pollOption struct {
	Text       string `json:"text"`
	VoterCount int    `json:"voter_count"`
}

type poll struct {
	ID                    string       `json:"id"`
	Question              string       `json:"question"`
	Options               []pollOption `json:"options"`
	TotalVoterCount       int          `json:"total_voter_count"`
	IsClosed              bool         `json:"is_closed"`
	IsAnonymous           bool         `json:"is_anonymous"`
	Type                  string       `json:"type"`
	AllowsMultipleAnswers bool         `json:"allows_multiple_answers"`
}

type forumTopic struct {
	Name      string `json:"name"`
	IconColor int    `json:"icon_color"`
}

type inlineButton struct {
	Text         string `json:"text"`
	CallbackData string `json:"callback_data,omitempty"`
	URL          string `json:"url,omitempty"`
}

type inlineKeyboard struct {
	InlineKeyboard [][]inlineButton `json:"inline_keyboard"`
}

// loneSurrogate stands in a text for half a surrogate pair, which Telegram's JSON may carry and a Go string can't: encode
// writes it as \ud83d. It is a noncharacter that no text has.
const loneSurrogate = '\U0010FFFF'

// encode writes v as Telegram does: no HTML escapes, and every character beyond ASCII as \uXXXX.
func encode(v any) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(fmt.Sprintf("simulator: a payload that cannot be written: %v", err))
	}
	plain := bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
	escaped := make([]byte, 0, len(plain)+len(plain)/4)
	for len(plain) > 0 {
		r, size := utf8.DecodeRune(plain)
		switch {
		case size == 1:
			escaped = append(escaped, plain[0])
		case r == loneSurrogate:
			escaped = appendEscape(escaped, 0xD83D)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			escaped = appendEscape(appendEscape(escaped, high), low)
		default:
			escaped = appendEscape(escaped, r)
		}
		plain = plain[size:]
	}
	return escaped
}

func appendEscape(b []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}

// composer writes a text with entities, whose places count UTF-16 code units.
type composer struct {
	text     strings.Builder
	units    int
	entities []entity
}

// add appends words that mark describes; nil marks nothing.
func (c *composer) add(words string, mark *entity) {
	length := utf16Length(words)
	if mark != nil {
		e := *mark
		e.Offset, e.Length = c.units, length
		c.entities = append(c.entities, e)
	}
	c.text.WriteString(words)
	c.units += length
}

func utf16Length(text string) int {
	units := 0
	for _, r := range text {
		if r > 0xFFFF && r != loneSurrogate {
			units++
		}
		units++
	}
	return units
}
