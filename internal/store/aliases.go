package store

import (
	"slices"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
)

// idsOfChat is the query for every id under which a chat has been known: a migration gives it a new one, and either finds the other. Its
// one parameter is an id of the chat, which is among them in any case.
const idsOfChat = `WITH RECURSIVE ids(id) AS (
		SELECT CAST(? AS bigint)
		UNION
		SELECT CASE WHEN a.chat_id = ids.id THEN a.migrated_to_chat_id ELSE a.chat_id END
		FROM chat_aliases a JOIN ids ON ids.id IN (a.chat_id, a.migrated_to_chat_id))
	SELECT id FROM ids`

// chatIDs returns all ids of the chat that has this one, in ascending order.
func chatIDs(tx *gorm.DB, chat content.ChatID) (ids []content.ChatID, err error) {
	err = tx.Raw(idsOfChat, chat).Scan(&ids).Error
	slices.Sort(ids)
	return ids, err
}
