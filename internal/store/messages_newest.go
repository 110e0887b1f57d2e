package store

import (
	"context"
	"fmt"

	"github.com/tgfleet/tgfleet/internal/content"
)

// Newest returns the highest number that a message of a chat has, deleted ones included; with chatID 0 of all chats of a scope that is an
// account's, which number together. It is 0 when the archive has none.
func (m *Messages) Newest(ctx context.Context, scope content.Scope, chatID content.ChatID) (newest content.MessageID, err error) {
	query := m.db.read(ctx).Table("messages").Select("coalesce(max(message_id), 0)")
	if chatID != 0 {
		query = query.Where("scope = ? AND chat_id = ?", int64(scope), int64(chatID))
	} else {
		query = query.Where("scope > 0 AND scope = ?", int64(scope))
	}
	if err := query.Scan(&newest).Error; err != nil {
		return 0, fmt.Errorf("find the newest message of chat %d: %w", chatID, classify(err))
	}
	return newest, nil
}

// Titles returns what chats are called, a private chat by the person's first name; those without a name are left out.
func (m *Messages) Titles(ctx context.Context, ids []content.ChatID) (map[content.ChatID]string, error) {
	titles := make(map[content.ChatID]string, len(ids))
	for len(ids) > 0 {
		some := ids[:min(len(ids), rowsTogether)]
		ids = ids[len(some):]
		var rows []struct {
			ID    int64
			Title string
		}
		numbers := make([]int64, len(some))
		for i, id := range some {
			numbers[i] = int64(id)
		}
		named := m.db.read(ctx).Table("chats").Select("id, coalesce(nullif(title, ''), first_name, '') AS title").Where("id IN ?", numbers)
		if err := named.Scan(&rows).Error; err != nil {
			return nil, fmt.Errorf("find the titles of chats: %w", classify(err))
		}
		for _, row := range rows {
			if row.Title != "" {
				titles[content.ChatID(row.ID)] = row.Title
			}
		}
	}
	return titles, nil
}
