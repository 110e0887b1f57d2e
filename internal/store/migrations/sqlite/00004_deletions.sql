-- +goose Up

-- A stub is a message of which only its deletion is known: its version is empty, and it has no date. SQLite drops a NOT NULL with the
-- table only. announced says that an event has told of the message, or of its content; the default is for programs that do not
-- know the column.
CREATE TABLE messages_with_stubs (
    scope                  integer      NOT NULL,
    chat_id                integer      NOT NULL,
    message_id             integer      NOT NULL,
    version                blob       NOT NULL,
    kind                   text        NOT NULL,
    normaliser_version     integer     NOT NULL,
    message_thread_id      integer,
    is_topic_message       boolean     NOT NULL,
    from_id                integer,
    sender_chat_id         integer,
    via_bot_id             integer,
    author_signature       text,
    business_connection_id text,
    date                   datetime,
    edit_date              datetime,
    text                   text        NOT NULL,
    entities               text,
    media_group_id         text,
    reply_to_chat_id       integer,
    reply_to_message_id    integer,
    quote                  text,
    forward_origin_type    text,
    forward_date           datetime,
    forward_from_id        integer,
    forward_sender_name    text,
    forward_chat_id        integer,
    forward_message_id     integer,
    forward_signature      text,
    is_automatic_forward   boolean     NOT NULL,
    deleted_at             datetime,
    announced              boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (scope, chat_id, message_id)
);
INSERT INTO messages_with_stubs (scope, chat_id, message_id, version, kind, normaliser_version, message_thread_id, is_topic_message, from_id,
    sender_chat_id, via_bot_id, author_signature, business_connection_id, date, edit_date, text, entities, media_group_id,
    reply_to_chat_id, reply_to_message_id, quote, forward_origin_type, forward_date, forward_from_id, forward_sender_name,
    forward_chat_id, forward_message_id, forward_signature, is_automatic_forward, deleted_at)
SELECT scope, chat_id, message_id, version, kind, normaliser_version, message_thread_id, is_topic_message, from_id,
    sender_chat_id, via_bot_id, author_signature, business_connection_id, date, edit_date, text, entities, media_group_id,
    reply_to_chat_id, reply_to_message_id, quote, forward_origin_type, forward_date, forward_from_id, forward_sender_name,
    forward_chat_id, forward_message_id, forward_signature, is_automatic_forward, deleted_at FROM messages;
DROP TABLE messages;
ALTER TABLE messages_with_stubs RENAME TO messages;
CREATE INDEX messages_chat_date ON messages (chat_id, date);
CREATE INDEX messages_media_group ON messages (chat_id, media_group_id) WHERE media_group_id IS NOT NULL;
ALTER TABLE message_revisions ADD COLUMN announced boolean NOT NULL DEFAULT true;

-- +goose Down
ALTER TABLE message_revisions DROP COLUMN announced;
CREATE TABLE messages_without_stubs (
    scope                  integer      NOT NULL,
    chat_id                integer      NOT NULL,
    message_id             integer      NOT NULL,
    version                blob       NOT NULL,
    kind                   text        NOT NULL,
    normaliser_version     integer     NOT NULL,
    message_thread_id      integer,
    is_topic_message       boolean     NOT NULL,
    from_id                integer,
    sender_chat_id         integer,
    via_bot_id             integer,
    author_signature       text,
    business_connection_id text,
    date                   datetime NOT NULL,
    edit_date              datetime,
    text                   text        NOT NULL,
    entities               text,
    media_group_id         text,
    reply_to_chat_id       integer,
    reply_to_message_id    integer,
    quote                  text,
    forward_origin_type    text,
    forward_date           datetime,
    forward_from_id        integer,
    forward_sender_name    text,
    forward_chat_id        integer,
    forward_message_id     integer,
    forward_signature      text,
    is_automatic_forward   boolean     NOT NULL,
    deleted_at             datetime,
    PRIMARY KEY (scope, chat_id, message_id)
);
INSERT INTO messages_without_stubs (scope, chat_id, message_id, version, kind, normaliser_version, message_thread_id, is_topic_message, from_id,
    sender_chat_id, via_bot_id, author_signature, business_connection_id, date, edit_date, text, entities, media_group_id,
    reply_to_chat_id, reply_to_message_id, quote, forward_origin_type, forward_date, forward_from_id, forward_sender_name,
    forward_chat_id, forward_message_id, forward_signature, is_automatic_forward, deleted_at)
SELECT scope, chat_id, message_id, version, kind, normaliser_version, message_thread_id, is_topic_message, from_id,
    sender_chat_id, via_bot_id, author_signature, business_connection_id, date, edit_date, text, entities, media_group_id,
    reply_to_chat_id, reply_to_message_id, quote, forward_origin_type, forward_date, forward_from_id, forward_sender_name,
    forward_chat_id, forward_message_id, forward_signature, is_automatic_forward, deleted_at FROM messages WHERE date IS NOT NULL;
DROP TABLE messages;
ALTER TABLE messages_without_stubs RENAME TO messages;
CREATE INDEX messages_chat_date ON messages (chat_id, date);
CREATE INDEX messages_media_group ON messages (chat_id, media_group_id) WHERE media_group_id IS NOT NULL;
