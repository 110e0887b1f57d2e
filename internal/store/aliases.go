package store

// idsOfChat is the query for every id under which a chat has been known: a migration gives it a new one, and either finds the other. Its
// one parameter is an id of the chat, which is among them in any case.
const idsOfChat = `WITH RECURSIVE ids(id) AS (
		SELECT CAST(? AS bigint)
		UNION
		SELECT CASE WHEN a.chat_id = ids.id THEN a.migrated_to_chat_id ELSE a.chat_id END
		FROM chat_aliases a JOIN ids ON ids.id IN (a.chat_id, a.migrated_to_chat_id))
	SELECT id FROM ids`
