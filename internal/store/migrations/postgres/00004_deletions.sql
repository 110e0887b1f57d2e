-- +goose Up

-- A stub is a message of which only its deletion is known: its version is empty, and it has no date.
ALTER TABLE messages ALTER COLUMN date DROP NOT NULL;
-- announced says that an event has told of the message, or of its content. The default is for programs that do not know the column.
ALTER TABLE messages ADD COLUMN announced boolean NOT NULL DEFAULT true;
ALTER TABLE message_revisions ADD COLUMN announced boolean NOT NULL DEFAULT true;

-- +goose Down
ALTER TABLE message_revisions DROP COLUMN announced;
ALTER TABLE messages DROP COLUMN announced;
DELETE FROM messages WHERE date IS NULL;
ALTER TABLE messages ALTER COLUMN date SET NOT NULL;
