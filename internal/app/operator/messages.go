package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/store"
)

func messagesCommand(env Env) *cobra.Command {
	return group("messages", "Look at what people wrote", messagesList(env))
}

// mostMessages bounds the messages that are read at a time.
const mostMessages = 10_000

func messagesList(env Env) *cobra.Command {
	var chat int64
	var album, before string
	var limit int
	cmd := addJSON(&cobra.Command{
		Use:   "list --chat ID",
		Short: "List the messages of a chat, the newest first",
		Long: `Lists the messages that the archive has of a chat, the newest first, those that were deleted included. A group that became a supergroup
is one chat: all its messages are listed, whichever of its ids is asked for, each with the id under which it was delivered.

--json prints one object a message. It has chat_id, scope, message_id, place and normaliser_version, and what is known of it: date, edit_date,
deleted_at, kind, from_id, sender_chat_id, via_bot_id, author_signature, business_connection_id, message_thread_id, media_group_id, text, entities,
media, content (what Telegram tells under the name of kind), rest (what else it tells), reply_to and forward. --before takes the place of
the last message that was listed, and goes on from there.` + settings(),
		Example: `  tgfleet messages list --chat -1001234567890
  tgfleet messages list --chat -1001234567890 --album 13579246801357924 --json
  tgfleet messages list --chat 4242 --limit 1000 --json | jq -r 'select(.deleted_at) | .message_id'`,
		Args: cobra.NoArgs,
	})
	cmd.Flags().Int64Var(&chat, "chat", 0, "the chat, by any id that it has had")
	cmd.Flags().StringVar(&album, "album", "", "only messages of this album (media_group_id)")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many messages")
	cmd.Flags().StringVar(&before, "before", "", "only messages after this place in the list, as it was printed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if chat == 0 {
			return errors.New("--chat is missing: want the id of a chat, as -1001234567890")
		}
		if limit < 1 || limit > mostMessages {
			return fmt.Errorf("--limit %d: want a number from 1 to %d", limit, mostMessages)
		}
		var after store.MessagePlace
		if before != "" {
			var err error
			if after, err = store.ParseMessagePlace(before); err != nil {
				return fmt.Errorf("--before %w", err)
			}
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			filter := store.MessageFilter{ChatID: content.ChatID(chat), MediaGroupID: album}
			page, err := s.db.Messages().List(ctx, filter, after, limit)
			if err != nil {
				return err
			}
			return s.printMessages(&page, limit)
		})
	}
	return cmd
}

func (s *session) printMessages(page *store.MessagePage, limit int) error {
	if s.json {
		for i := range page.Messages {
			if err := s.print(lineOfMessage(&page.Messages[i]), nil); err != nil {
				return err
			}
		}
		return nil
	}
	hints := s.cmd.ErrOrStderr()
	if len(page.ChatIDs) > 1 {
		fmt.Fprintf(hints, "This chat has had the ids %s.\n", strings.Trim(fmt.Sprint(page.ChatIDs), "[]"))
	}
	if len(page.Messages) == 0 {
		fmt.Fprintln(hints, "The archive has no such message.")
		return nil
	}
	err := s.print(nil, func(w io.Writer) {
		row(w, "DATE", "CHAT", "MESSAGE", "FROM", "KIND", "CONTENT")
		for i := range page.Messages {
			printMessage(w, &page.Messages[i])
		}
	})
	if len(page.Messages) == limit {
		fmt.Fprintf(hints, "There may be more: --before %s\n", page.Messages[limit-1].Place())
	}
	return err
}

func printMessage(w io.Writer, m *store.Message) {
	date, kind, from := "-", string(m.Kind), "-"
	if !m.Date.IsZero() {
		date = m.Date.UTC().Format(time.DateTime)
	}
	if kind == "" {
		kind = "-"
	}
	switch {
	case m.FromID != 0:
		from = strconv.FormatInt(int64(m.FromID), 10)
	case m.SenderChatID != 0:
		from = strconv.FormatInt(int64(m.SenderChatID), 10)
	}
	var parts []string
	if m.Text != "" {
		parts = append(parts, cellText(m.Text))
	}
	for i := range m.Media {
		parts = append(parts, strings.TrimSpace(m.Media[i].Kind+" "+m.Media[i].FileUniqueID))
	}
	if m.MediaGroupID != "" {
		parts = append(parts, "album "+m.MediaGroupID)
	}
	if m.ReplyTo.MessageID != 0 {
		in := ""
		if m.ReplyTo.ChatID != 0 {
			in = fmt.Sprintf(" of chat %d", m.ReplyTo.ChatID)
		}
		parts = append(parts, fmt.Sprintf("reply to %d%s", m.ReplyTo.MessageID, in))
	}
	if !m.EditDate.IsZero() {
		parts = append(parts, "edited "+m.EditDate.UTC().Format(time.DateTime))
	}
	if !m.DeletedAt.IsZero() {
		parts = append(parts, "deleted "+m.DeletedAt.UTC().Format(time.DateTime))
	}
	row(w, date, int64(m.Key.ChatID), int64(m.Key.MessageID), from, kind, strings.Join(parts, ", "))
}

// messageLine is one message as `messages list --json` prints it.
type messageLine struct {
	ChatID               content.ChatID      `json:"chat_id"`
	Scope                content.Scope       `json:"scope"`
	MessageID            content.MessageID   `json:"message_id"`
	Place                string              `json:"place"`
	Date                 time.Time           `json:"date,omitzero"`
	EditDate             time.Time           `json:"edit_date,omitzero"`
	DeletedAt            time.Time           `json:"deleted_at,omitzero"`
	Kind                 content.MessageKind `json:"kind,omitempty"`
	NormaliserVersion    uint16              `json:"normaliser_version"`
	FromID               content.UserID      `json:"from_id,omitempty"`
	SenderChatID         content.ChatID      `json:"sender_chat_id,omitempty"`
	ViaBotID             content.UserID      `json:"via_bot_id,omitempty"`
	AuthorSignature      string              `json:"author_signature,omitempty"`
	BusinessConnectionID string              `json:"business_connection_id,omitempty"`
	ThreadID             content.MessageID   `json:"message_thread_id,omitempty"`
	MediaGroupID         string              `json:"media_group_id,omitempty"`
	Text                 string              `json:"text,omitempty"`
	Entities             []content.Entity    `json:"entities,omitempty"`
	Media                []mediaLine         `json:"media,omitempty"`
	Content              json.RawMessage     `json:"content,omitempty"`
	Rest                 json.RawMessage     `json:"rest,omitempty"`
	ReplyTo              *replyLine          `json:"reply_to,omitempty"`
	Forward              *forwardLine        `json:"forward,omitempty"`
}

type mediaLine struct {
	Kind         string          `json:"kind"`
	FileUniqueID string          `json:"file_unique_id"`
	FileName     string          `json:"file_name,omitempty"`
	MIMEType     string          `json:"mime_type,omitempty"`
	SizeBytes    int64           `json:"size_bytes,omitempty"`
	Width        int             `json:"width,omitempty"`
	Height       int             `json:"height,omitempty"`
	DurationMS   int64           `json:"duration_ms,omitempty"`
	Rest         json.RawMessage `json:"rest,omitempty"`
}

type replyLine struct {
	ChatID    content.ChatID    `json:"chat_id,omitempty"`
	MessageID content.MessageID `json:"message_id,omitempty"`
	Quote     string            `json:"quote,omitempty"`
}

type forwardLine struct {
	OriginType      string            `json:"origin_type"`
	Date            time.Time         `json:"date,omitzero"`
	FromID          content.UserID    `json:"from_id,omitempty"`
	SenderName      string            `json:"sender_name,omitempty"`
	ChatID          content.ChatID    `json:"chat_id,omitempty"`
	MessageID       content.MessageID `json:"message_id,omitempty"`
	AuthorSignature string            `json:"author_signature,omitempty"`
	IsAutomatic     bool              `json:"is_automatic,omitempty"`
}

func lineOfMessage(m *store.Message) messageLine {
	line := messageLine{
		ChatID: m.Key.ChatID, Scope: m.Key.Scope, MessageID: m.Key.MessageID, Place: m.Place().String(),
		Date: m.Date, EditDate: m.EditDate, DeletedAt: m.DeletedAt, Kind: m.Kind, NormaliserVersion: m.NormaliserVersion,
		FromID: m.FromID, SenderChatID: m.SenderChatID, ViaBotID: m.ViaBotID, AuthorSignature: m.AuthorSignature,
		BusinessConnectionID: m.BusinessConnectionID, ThreadID: m.ThreadID, MediaGroupID: m.MediaGroupID,
		Text: m.Text, Entities: m.Entities, Content: json.RawMessage(m.Content),
		Rest: json.RawMessage(m.Rest),
	}
	for i := range m.Media {
		f := &m.Media[i]
		line.Media = append(line.Media, mediaLine{
			Kind: f.Kind, FileUniqueID: f.FileUniqueID, FileName: f.FileName, MIMEType: f.MIMEType, SizeBytes: f.SizeBytes,
			Width: f.Width, Height: f.Height, DurationMS: f.Duration.Milliseconds(),
			Rest: json.RawMessage(f.Rest),
		})
	}
	if m.ReplyTo != (content.Reply{}) {
		line.ReplyTo = &replyLine{ChatID: m.ReplyTo.ChatID, MessageID: m.ReplyTo.MessageID, Quote: m.ReplyTo.Quote}
	}
	if f := m.Forward; f != (content.Forward{}) {
		line.Forward = &forwardLine{
			OriginType: f.OriginType, Date: f.Date, FromID: f.FromID, SenderName: f.SenderName, ChatID: f.ChatID, MessageID: f.MessageID,
			AuthorSignature: f.AuthorSignature, IsAutomatic: f.IsAutomatic,
		}
	}
	return line
}
